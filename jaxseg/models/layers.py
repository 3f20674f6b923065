"""The layers that the networks are drawn with: convolutions, normalisation, auxiliary outputs.

They pad explicitly and by the same amount on both sides, as Caffe and PyTorch do; ``SAME`` differs from that at stride 2.
Initialisers follow He et al., "Delving deep into rectifiers", 2015 (https://arxiv.org/abs/1502.01852) unless given.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops

Initializer = Callable[..., Array]

#: He's normal initialisation: standard deviation sqrt(2 / fan_in).
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Conv(nn.Module):
    """A 2-D convolution, plain, strided, atrous or grouped.

    Attributes:
        features: number of output channels.
        kernel_size: side of the square kernel.
        strides: step between output pixels.
        padding: zeros on each side; ``None`` keeps the size at stride 1, ``atrous_rate * (kernel_size - 1) // 2``.
        atrous_rate: spacing of the kernel's taps; 1 is a plain convolution.
        groups: channel groups; as many as input channels makes it depthwise.
        use_bias: adds a learnt bias.
        kernel_init: initialiser of the kernel ``(kernel_size, kernel_size, c // groups, features)``.
        dtype: compute dtype.
        param_dtype: dtype of the parameters.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int | None = None
    atrous_rate: int = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = he_normal
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 features"]:
        """Return the convolved map."""
        side, channels = self.kernel_size, x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (side, side, channels // self.groups, self.features), self.param_dtype)
        padding = self.atrous_rate * (side - 1) // 2 if self.padding is None else self.padding
        x = ops.conv2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            strides=self.strides,
            padding=padding,
            atrous_rate=self.atrous_rate,
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), self.param_dtype)
            x = x + bias.astype(self.dtype)[None, None, None]
        return x


class ConvTranspose(nn.Module):
    """A transposed convolution ("deconvolution", "up-convolution"), of output size ``(h - 1) strides - 2 padding + kernel_size``.

    Attributes:
        features: number of output channels.
        kernel_size: side of the square kernel.
        strides: the enlargement.
        padding: rows and columns cropped from each side of the full result.
        use_bias: adds a learnt bias.
        kernel_init: initialiser of the kernel ``(kernel_size, kernel_size, c, features)``.
        dtype: compute dtype.
        param_dtype: dtype of the parameters.
    """

    features: int
    kernel_size: int = 2
    strides: int = 2
    padding: int = 0
    use_bias: bool = True
    kernel_init: Initializer = he_normal
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 features"]:
        """Return the enlarged map."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        x = ops.conv_transpose2d(x.astype(self.dtype), kernel.astype(self.dtype), strides=self.strides, padding=self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), self.param_dtype)
            x = x + bias.astype(self.dtype)[None, None, None]
        return x


class BatchNorm(nn.Module):
    """Batch normalisation whose constants are given, never defaulted: libraries disagree on both.

    Statistics are computed in float32 and, under ``jit`` over a mesh, over the global batch.

    Attributes:
        momentum: share of the old running statistics that is kept per step (PyTorch's ``momentum`` is one minus this).
        epsilon: added to the variance.
        dtype: compute dtype.
    """

    momentum: float
    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        """Normalise with the batch's statistics in training, with the running ones otherwise."""
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype, name="norm"
        )
        return norm(x)


class ConvBNAct(nn.Module):
    """Convolution, batch normalisation (the convolution then has no bias), activation.

    Attributes:
        features: number of output channels.
        momentum: of the batch normalisation.
        epsilon: of the batch normalisation.
        kernel_size: side of the square kernel.
        strides: step between output pixels.
        atrous_rate: spacing of the kernel's taps.
        groups: channel groups; as many as input channels makes it depthwise.
        activation: applied last; ``None`` for none.
        kernel_init: initialiser of the kernel.
        dtype: compute dtype.
        param_dtype: dtype of the convolution's parameters.
    """

    features: int
    momentum: float
    epsilon: float
    kernel_size: int = 3
    strides: int = 1
    atrous_rate: int = 1
    groups: int = 1
    activation: Callable[[Array], Array] | None = nn.relu
    kernel_init: Initializer = he_normal
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 features"]:
        """Return the activated map."""
        x = Conv(
            self.features,
            self.kernel_size,
            strides=self.strides,
            atrous_rate=self.atrous_rate,
            groups=self.groups,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="conv",
        )(x)
        x = BatchNorm(self.momentum, self.epsilon, dtype=self.dtype, name="bn")(x, train=train)
        return x if self.activation is None else self.activation(x)


class SeparableConv(nn.Module):
    """A depthwise convolution, one kernel per channel, then a pointwise one, each followed by batch normalisation.

    The atrous separable convolution of DeepLab v3+ (Chen et al., 2018, https://arxiv.org/abs/1802.02611, section 3.1).

    Attributes:
        features: number of output channels.
        momentum: of both batch normalisations.
        epsilon: of both batch normalisations.
        kernel_size: side of the square depthwise kernel.
        strides: step between output pixels.
        atrous_rate: spacing of the depthwise kernel's taps.
        depthwise_norm: whether the depthwise convolution is followed by batch normalisation and activation;
            segmentation_models.pytorch has neither there.
        depthwise_activation: applied between the two; ``None`` for none.
        activation: applied last; ``None`` for none.
        depthwise_init: initialiser of the depthwise kernel ``(kernel_size, kernel_size, 1, c)``.
        pointwise_init: initialiser of the pointwise kernel ``(1, 1, c, features)``.
        dtype: compute dtype.
        param_dtype: dtype of the convolutions' parameters.
    """

    features: int
    momentum: float
    epsilon: float
    kernel_size: int = 3
    strides: int = 1
    atrous_rate: int = 1
    depthwise_norm: bool = True
    depthwise_activation: Callable[[Array], Array] | None = nn.relu
    activation: Callable[[Array], Array] | None = nn.relu
    depthwise_init: Initializer = he_normal
    pointwise_init: Initializer = he_normal
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 features"]:
        """Return the activated map."""
        channels = x.shape[-1]
        shared: dict[str, Any] = {"momentum": self.momentum, "epsilon": self.epsilon, "dtype": self.dtype}
        shared["param_dtype"] = self.param_dtype
        depthwise: dict[str, Any] = {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "atrous_rate": self.atrous_rate,
            "groups": channels,
            "kernel_init": self.depthwise_init,
            "name": "depthwise",
        }
        if self.depthwise_norm:
            x = ConvBNAct(channels, activation=self.depthwise_activation, **depthwise, **shared)(x, train=train)
        else:
            x = Conv(channels, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, **depthwise)(x)
        pointwise = ConvBNAct(
            self.features,
            kernel_size=1,
            activation=self.activation,
            kernel_init=self.pointwise_init,
            name="pointwise",
            **shared,
        )
        return pointwise(x, train=train)


def sow_auxiliary(module: nn.Module, name: str, weight: float, logits: Float[Array, "b h w k"]) -> None:
    """Hand an auxiliary head's logits to the train step, which adds ``weight * loss(logits, labels)``.

    They go through Linen's ``sow`` into the collection ``auxiliary``, so that a call without it returns, and costs, nothing.

    Args:
        module: the network.
        name: of the head.
        weight: its share in the loss, in the paper's units.
        logits: of the image's own size, float32.
    """
    module.sow("auxiliary", name, (jnp.float32(weight), logits))
