"""The array types that every room of jaxseg speaks of, and the one void index."""

from jaxtyping import Array, Float, Integer

#: Label value of pixels that count nowhere: in no loss, no metric, no weight map. The value of Pascal VOC and Cityscapes.
VOID = 255

#: Normalised images, channels last.
Image = Float[Array, "b h w c"]

#: Class indices in ``[0, num_classes)``, or :data:`VOID`. Stored as uint8 where they are many, hence any integer.
Labels = Integer[Array, "b h w"]

#: Unnormalised scores, one channel per class; float32 whatever the compute dtype of the network.
Logits = Float[Array, "b h w k"]
