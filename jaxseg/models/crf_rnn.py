"""CRF as RNN: Conditional Random Fields as Recurrent Neural Networks.

Zheng, Jayasumana, Romera-Paredes, Vineet, Su, Du, Huang, Torr, ICCV 2015, https://arxiv.org/abs/1502.03240

The iterations of mean field in a fully connected CRF as layers with shared weights behind a network, FCN-8s in the paper, trained
together with it. An iteration filters the marginals by a spatial and a bilateral Gaussian, weighs what either gives by a matrix
over the classes, adds both, transforms the sum by the compatibility of the classes, adds the unary and normalises.
The unary is minus the network's logits. Five iterations in training, ten in evaluation.

Differs from the paper:
    - Filters are normalised symmetrically, as pydensecrf does; ``normalisation="after"`` in ``parameters`` is the paper's
      division by the sum of the weights.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import crf
from jaxseg.errors import InputError
from jaxseg.models.fcn import FCN8s
from jaxseg.ops.normalise import Normalise
from jaxseg.types import Image, Logits


class MeanField(nn.Module):
    """Mean field as a layer: trainable weights of two kernels, and a trainable compatibility.

    Attributes:
        iterations: updates.
        filter: of the bilateral kernel; ``None`` is the default of the platform.
        parameters: standard deviations, normalisation, and the weights to start from.
    """

    iterations: int
    filter: Any
    parameters: crf.Parameters

    @nn.compact
    def __call__(self, unary: Float[Array, "b h w k"], image: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Return energies whose softmax, with the sign turned, is the marginals.

        Args:
            unary: energies.
            image: colours, 0 to 255.
        """
        classes, given = unary.shape[-1], self.parameters
        identity = jnp.eye(classes, dtype=jnp.float32)
        bilateral = self.param("bilateral_weights", lambda _: given.w1 * identity)
        spatial = self.param("spatial_weights", lambda _: given.w2 * identity)
        compatibility = self.param("compatibility", lambda _: -identity)  # Potts, as minus the identity

        def refine(unary: Float[Array, "h w k"], image: Float[Array, "h w c"]) -> Float[Array, "h w k"]:
            arguments = {**given.arguments(), "iterations": self.iterations, "w1": 1.0, "w2": 1.0}
            return crf.mean_field_energy(
                unary,
                image,
                compatibility=compatibility @ bilateral,
                spatial_compatibility=compatibility @ spatial,
                filter=self.filter,
                **arguments,
            )

        return jax.vmap(refine)(unary, image)


class CRFRNN(nn.Module):
    """A network and mean field behind it.

    Attributes:
        num_classes: channels of the logits; at least two.
        network: makes the logits of the unary; of as many classes. ``None`` is :class:`FCN8s` of the paper.
        normalise: what made the network's input of the stored image, to be undone for the filters; the config's own.
        parameters: of the CRF; its weights are where training starts, its iterations those of evaluation.
        train_iterations: those of training.
        filter: of the bilateral kernel, one of ``jaxseg.crf``; ``None`` is :func:`jaxseg.crf.default_filter`: the
            lattice with room for all vertices that there can be, or shifts on a TPU. Where memory is short, give one with a
            capacity.
    """

    num_classes: int
    network: Any = None
    normalise: Normalise = Normalise()
    parameters: crf.Parameters = crf.SETS["crf-rnn"]
    train_iterations: int = 5
    filter: Any = None

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits whose softmax is the marginals, of the image's height and width.

        Raises:
            InputError: for a network of other classes, or fewer than two.
        """
        self._check()
        network = FCN8s(self.num_classes, name="network") if self.network is None else self.network
        unary = -network(image, train=train).astype(jnp.float32)
        iterations = self.train_iterations if train else self.parameters.iterations
        layer = MeanField(iterations, self.filter, self.parameters, name="mean_field")
        return -layer(unary, self.normalise.undo(image))

    def _check(self) -> None:
        if self.num_classes < 2:
            raise InputError(f"num_classes={self.num_classes}: the CRF compares labels, and needs at least 2.")
        if self.network is not None and self.network.num_classes != self.num_classes:
            raise InputError(
                f"num_classes={self.num_classes}, but network.num_classes={self.network.num_classes}. Set both alike: "
                f"--set model.num_classes=N --set model.network.num_classes=N."
            )
