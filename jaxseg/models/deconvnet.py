"""DeconvNet: Learning Deconvolution Network for Semantic Segmentation.

Noh, Hong, Han, ICCV 2015, https://arxiv.org/abs/1505.04366

VGG16 down to a single vector for the whole object (fc6 is a 7x7 convolution without padding: 1x1 for an image of 224x224), then
its mirror image back up: unpooling by the stored positions of the maxima, and deconvolutions of stride 1, batch normalisation
after each.

Differs from the paper:
    - The image itself is segmented; the paper joins the predictions of up to 50 object proposals, and trains on crops of them.
    - An image whose deepest map is smaller than fc6's kernel is extended by its edge, and the logits are cropped.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.models.backbones.vgg import VGG16, ConvolutionalFC
from jaxseg.models.layers import BatchNorm, Conv, ConvTranspose
from jaxseg.types import Image, Logits


class DeconvNet(nn.Module):
    """DeconvNet; the defaults are the paper's 251.8 million parameters at 21 classes.

    Attributes:
        num_classes: channels of the logits.
        backbone: the encoder, which the decoder mirrors.
        width: channels of fc6 and fc7. The paper's 4096; SegNet's authors compared with 1024.
        fc_kernel_size: side of fc6's kernel and of its deconvolution's; the paper's 7.
        dtype: compute dtype of all but the backbone; logits are float32 all the same.
    """

    num_classes: int
    backbone: VGG16 = VGG16(batch_norm=True)
    width: int = 4096
    fc_kernel_size: int = 7
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        height, width = image.shape[1:3]
        smallest = self.backbone.strides[-1] * self.fc_kernel_size
        missing = [(0, max(smallest - side, 0)) for side in (height, width)]
        stages = self.backbone.stages(jnp.pad(image, ((0, 0), *missing, (0, 0)), mode="edge"), train=train)
        fc = ConvolutionalFC(
            self.width, self.fc_kernel_size, padding=0, dropout=0.0, batch_norm=True, dtype=self.dtype, name="fc"
        )
        x = fc(stages[-1].pooled, train=train)
        x = self._deconv(x, self.backbone.widths[-1], "6", self.fc_kernel_size, 0, train=train)
        for n in reversed(range(len(stages))):
            x = ops.max_unpool(x, stages[n].argmax, output_size=stages[n].size, window=2)
            for m, features in enumerate(self.backbone.mirrored(n), start=1):
                x = self._deconv(x, features, f"{n + 1}_{m}", 3, 1, train=train)
        logits = Conv(self.num_classes, 1, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)
        return logits[:, :height, :width]

    def _deconv(
        self, x: Float[Array, "b h w c"], features: int, name: str, kernel_size: int, padding: int, *, train: bool
    ) -> Float[Array, "b h2 w2 features"]:
        deconv = ConvTranspose(
            features,
            kernel_size,
            strides=1,
            padding=padding,
            kernel_init=nn.initializers.normal(0.01),
            dtype=self.dtype,
            name=f"deconv{name}",
        )
        return nn.relu(BatchNorm(momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"debn{name}")(deconv(x), train=train))
