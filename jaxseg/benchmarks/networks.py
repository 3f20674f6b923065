"""The three networks of the step benchmark, over either set of operations, without any framework."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxseg.benchmarks.bricks import Jaxseg

CLASSES = 21


class Network:
    """A network under construction (``params=None``: draws its parameters) or in use (takes them in the same order)."""

    def __init__(self, bricks: Jaxseg, params: list[Array] | None = None) -> None:
        self.bricks = bricks
        self.made: list[Array] = []
        self._given = None if params is None else iter(params)
        self._draw = np.random.default_rng(0)

    def param(self, *shape: int, scale: float | None = None) -> Array:
        """Return the next parameter: normal by He et al., or the constant ``scale``."""
        if self._given is not None:
            return next(self._given)
        he = self._draw.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        value = he if scale is None else np.full(shape, scale)
        self.made.append(jnp.asarray(value, jnp.float32))
        return self.made[-1]

    def conv(self, x: Array, features: int, side: int = 3, strides: int = 1, rate: int = 1) -> Array:
        """Convolve, keeping the size at stride 1."""
        kernel = self.param(side, side, x.shape[3], features)
        return self.bricks.conv(x, kernel, strides, rate * (side - 1) // 2, rate)

    def norm(self, x: Array) -> Array:
        """Normalise over batch and plane."""
        mean = jnp.mean(x, (0, 1, 2), keepdims=True)
        variance = jnp.maximum(jnp.mean(x * x, (0, 1, 2), keepdims=True) - mean * mean, 0)
        gain = jax.lax.rsqrt(variance + 1e-5) * self.param(x.shape[3], scale=1.0)[None, None, None]
        return (x - mean) * gain + self.param(x.shape[3], scale=0.0)[None, None, None]

    def block(self, x: Array, features: int, side: int = 3, strides: int = 1, rate: int = 1) -> Array:
        """Convolve, normalise, rectify."""
        return jax.nn.relu(self.norm(self.conv(x, features, side, strides, rate)))

    def classify(self, x: Array) -> Array:
        """Return the logits."""
        return self.conv(x, CLASSES, 1) + self.param(CLASSES, scale=0.0)[None, None, None]


def unet(net: Network, x: Array) -> Array:
    """U-Net with 64 to 1024 channels, padded, with batch normalisation."""
    skips = []
    for features in (64, 128, 256, 512):
        x = net.block(net.block(x, features), features)
        skips.append(x)
        x = net.bricks.max_pool(x, 2, 2)
    x = net.block(net.block(x, 1024), 1024)
    for features, skip in zip((512, 256, 128, 64), reversed(skips), strict=True):
        x = net.bricks.conv_transpose(x, net.param(2, 2, x.shape[3], features), 2)
        x = jnp.concatenate([skip, x], axis=3)
        x = net.block(net.block(x, features), features)
    return net.classify(x)


def segnet(net: Network, x: Array) -> Array:
    """SegNet: VGG16's 13 convolutions, and their mirror image after unpooling."""
    kept = []
    for features, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = net.block(x, features)
        size = (x.shape[1], x.shape[2])
        x, indices = net.bricks.pool_with_argmax(x)
        kept.append((indices, size))
    for features, after, count in ((512, 512, 3), (512, 256, 3), (256, 128, 3), (128, 64, 2), (64, 64, 1)):
        x = net.bricks.unpool(x, *kept.pop())
        for n in range(count):
            x = net.block(x, after if n == count - 1 else features)
    return net.classify(x)


def deeplab(net: Network, x: Array) -> Array:
    """DeepLabV3 on ResNet-50 at output stride 8, with atrous spatial pyramid pooling at rates 12, 24, 36."""
    size = (x.shape[1], x.shape[2])
    x = net.bricks.max_pool(net.block(x, 64, 7, 2), 3, 2, 1)
    for width, count, strides, rate in ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4)):
        for n in range(count):
            x = _bottleneck(net, x, width, strides if n == 0 else 1, rate)
    branches = [net.block(x, 256, 1), *(net.block(x, 256, 3, 1, r) for r in (12, 24, 36))]
    pooled = net.block(jnp.mean(x, (1, 2), keepdims=True), 256, 1)
    branches.append(jnp.broadcast_to(pooled, branches[0].shape))
    x = net.block(net.block(jnp.concatenate(branches, axis=3), 256, 1), 256)
    return net.bricks.resize(net.classify(x), size)


def _bottleneck(net: Network, x: Array, width: int, strides: int, rate: int) -> Array:
    y = net.block(net.block(x, width, 1), width, 3, strides, rate)
    y = net.norm(net.conv(y, 4 * width, 1))
    if x.shape != y.shape:
        x = net.norm(net.conv(x, 4 * width, 1, strides))
    return jax.nn.relu(x + y)


NETWORKS: dict[str, Callable[[Network, Array], Array]] = {
    "unet": unet,
    "vgg16-segnet": segnet,
    "resnet50-atrous": deeplab,
}


def initial(name: str, image: Array) -> list[Array]:
    """Return the parameters of a network."""

    def build(image: Array) -> Array:
        return NETWORKS[name](net, image)

    net = Network(Jaxseg())
    with jax.ensure_compile_time_eval():
        jax.eval_shape(build, image)
    return net.made


def train_step(name: str, bricks: Jaxseg) -> Callable[..., tuple[list[Array], list[Array], Array]]:
    """Return one step of SGD with momentum on the mean cross entropy, from parameters, momenta and batch to new ones and loss."""

    def loss(params: list[Array], image: Array, labels: Array) -> Array:
        with bricks.tracing():
            logits = NETWORKS[name](Network(bricks, params), image)
        picked = jnp.take_along_axis(logits, labels[..., None], axis=3)[..., 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=3) - picked)

    def step(params: list[Array], momenta: list[Array], image: Array, labels: Array) -> tuple[list[Array], list[Array], Array]:
        value, gradients = jax.value_and_grad(partial(loss, image=image, labels=labels))(params)
        momenta = [0.9 * m + g for m, g in zip(momenta, gradients, strict=True)]
        return [p - 0.001 * m for p, m in zip(params, momenta, strict=True)], momenta, value

    return step
