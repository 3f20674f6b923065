"""How one array lies in a file and in our tree: every layout goes both ways.

PyTorch keeps a convolution as ``(out, in, h, w)`` and a dense layer as ``(out, in)``; here they are ``(h, w, in, out)`` and
``(in, out)``, with heads as axes of their own. Two layouts share one array of the file where that packs what is apart here
(query, key and value; the class token's position and the grid's): they have a ``part``, and are put together along ``axis``.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.models.positions import resize_table

#: Image channels of published networks: RGB.
RGB = 3


@dataclasses.dataclass(frozen=True)
class Layout:
    """As the shapes say: convolution kernels, dense kernels with or without heads, and everything else as it is.

    Attributes:
        part: of the file's array, counted from 0; ``None`` for the whole.
        parts: how many there are.
        axis: along which they lie.
    """

    part: int | None = None
    parts: int = 1
    axis: int = 0

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the file's array in our layout; of another shape than ours where it does not fit.

        Args:
            given: the file's array.
            shape: ours.
            name: of our array, whose last part says what it is.
        """
        if self.part is not None:
            given = self._own(given)
        if name.rpartition("/")[2] == "kernel":
            given = _kernel(given, shape)
        fits = given.shape != shape and given.size == math.prod(shape) and _same_up_to_axes_of_1(given.shape, shape)
        return given.reshape(shape) if fits else given

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return our array, or our part, in the file's layout."""
        layer, _, array = name.rpartition("/")
        if array != "kernel":
            return own.reshape(-1) if array == "bias" else own
        if own.ndim == 4:
            return own.transpose(3, 2, 0, 1)
        inputs = own.ndim - 1 if layer.endswith("out") else 1
        return own.reshape(math.prod(own.shape[:inputs]), -1).T

    def changes(self, given: np.ndarray, shape: tuple[int, ...]) -> bool:
        """Say whether values are computed, not moved, to make the file's array ours."""
        return False

    def _own(self, given: np.ndarray) -> np.ndarray:
        assert self.part is not None
        if given.shape[self.axis] % self.parts:
            return given
        return np.split(given, self.parts, self.axis)[self.part]


def _kernel(given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 4 and given.ndim == 4:
        return given.transpose(2, 3, 1, 0)
    if len(shape) == 4 and given.ndim == 2:  # a fully connected layer, as a convolution over what it was connected to
        height, width, inputs, _ = shape
        if given.shape[1] != height * width * inputs:
            return given
        return given.reshape(-1, inputs, height, width).transpose(2, 3, 1, 0)
    if given.ndim == 2:
        return given.T.reshape(shape) if given.size == math.prod(shape) and _splits(given.T.shape, shape) else given.T
    return given


def _splits(matrix: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Say whether a matrix's rows, and so its columns, are the product of a shape's first axes."""
    return any(math.prod(shape[:n]) == matrix[0] for n in range(1, len(shape)))


def _same_up_to_axes_of_1(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) == 1 or len(b) == 1 or [n for n in a if n > 1] == [n for n in b if n > 1]


@dataclasses.dataclass(frozen=True)
class Linear(Layout):
    """A convolution here that is a fully connected layer there: VGG's fc6 reads 7x7 pixels, channels first."""

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return the kernel as a matrix."""
        saved = super().save(own, name)
        return saved.reshape(len(saved), -1)


@dataclasses.dataclass(frozen=True)
class Stem(Layout):
    """The first convolution, which may meet an image of another number of channels than it was made for.

    More channels than given take the given ones in turn, fewer (a grey image) their mean, all scaled so that their sum stays:
    the answer to a picture that is the same in all channels is about the same.

    Attributes:
        bgr: the file's network reads blue first, as Caffe's; ours reads red first.
    """

    bgr: bool = False

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the kernel for our number of channels."""
        own = super().load(given, shape, name)
        if name.rpartition("/")[2] != "kernel" or own.ndim != 4:
            return own
        if self.bgr and own.shape[2] == RGB:
            own = own[:, :, ::-1]
        channels, wanted = own.shape[2], shape[2]
        if channels == wanted or channels not in (1, RGB, RGB + 1):
            return own
        scale = channels / wanted
        if wanted < channels:
            return own.mean(axis=2, keepdims=True).repeat(wanted, axis=2) * np.float32(scale)
        return own[:, :, np.arange(wanted) % channels] * np.float32(scale)

    def changes(self, given: np.ndarray, shape: tuple[int, ...]) -> bool:
        """Say whether the image has another number of channels."""
        return len(shape) == 4 and given.ndim == 4 and given.shape[1] != shape[2]

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return the kernel in the file's order of channels."""
        reverse = self.bgr and name.endswith("kernel") and own.shape[2] == RGB
        return super().save(own[:, :, ::-1] if reverse else own, name)


@dataclasses.dataclass(frozen=True)
class Transposed(Layout):
    """A transposed convolution, ``(in, out, h, w)`` in PyTorch."""

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the kernel as ``(h, w, in, out)``; a bias as it is."""
        return given.transpose(2, 3, 0, 1) if given.ndim == 4 else given

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return the kernel as ``(in, out, h, w)``; a bias as it is."""
        return own.transpose(2, 3, 0, 1) if own.ndim == 4 else own


@dataclasses.dataclass(frozen=True)
class Positions(Layout):
    """Position embeddings ``(1, tokens, width)``: rows of class tokens, then the grid's, which is interpolated to another grid.

    Bicubic with smoothing where it shrinks, as timm does. A file does not say its grid: it is taken for a square where its
    rows are a square number, as published ones are, also where our oblong grid has as many; else for ours.

    Attributes:
        class_tokens: rows before the grid's.
        row: the one that is wanted, of the class tokens; ``None`` for the grid.
    """

    axis: int = 1
    class_tokens: int = 1
    row: int | None = None

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the row, or the grid's embeddings in our grid."""
        given = given.reshape(1, -1, given.shape[-1])
        if self.row is not None:
            return given[:, self.row : self.row + 1]
        table = given[:, self.class_tokens :]
        theirs, own = self._grid(table.shape[1], shape), (shape[1], shape[2])
        if theirs is None:
            return table
        table = table.reshape(1, *theirs, -1)
        return table if theirs == own else self.resize(table, own)

    def resize(self, table: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Return a table ``(1, h, w, width)`` on another grid."""
        return np.asarray(resize_table(jnp.asarray(table, jnp.float32), grid, method="bicubic"))

    def changes(self, given: np.ndarray, shape: tuple[int, ...]) -> bool:
        """Say whether the grid is another."""
        return self.row is None and self._grid(given.shape[-2] - self.class_tokens, shape) != (shape[1], shape[2])

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return rows of tokens."""
        return own.reshape(1, -1, own.shape[-1])

    def _grid(self, rows: int, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Return the file's grid, or ``None`` where it cannot be known."""
        side = math.isqrt(max(rows, 0))
        if side * side == rows:
            return side, side
        return (shape[1], shape[2]) if rows == shape[1] * shape[2] else None


@dataclasses.dataclass(frozen=True)
class RelativePositions(Layout):
    """Swin's table ``((2 M - 1)^2, heads)``, interpolated bicubically for windows of another side ``M``."""

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the table for our windows."""
        if given.ndim != 2 or given.shape == shape or given.shape[1] != shape[1]:
            return given
        own, theirs = math.isqrt(shape[0]), math.isqrt(given.shape[0])
        square = np.asarray(given, np.float32).reshape(theirs, theirs, -1)
        return np.asarray(jax.image.resize(square, (own, own, shape[1]), "bicubic")).reshape(shape)

    def changes(self, given: np.ndarray, shape: tuple[int, ...]) -> bool:
        """Say whether the windows are others."""
        return given.shape != shape


@dataclasses.dataclass(frozen=True)
class SwappedHalves(Layout):
    """A convolution over two maps side by side, of as many channels each, which the file has in the other order."""

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the kernel with its inputs' halves exchanged."""
        own = super().load(given, shape, name)
        return np.roll(own, own.shape[2] // 2, axis=2) if own.ndim == 4 else own

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return the kernel in the file's order."""
        return super().save(np.roll(own, own.shape[2] // 2, axis=2) if own.ndim == 4 else own, name)


@dataclasses.dataclass(frozen=True)
class Constant(Layout):
    """An array that is not in the file, beside one that is, and then has this value; it is not saved.

    Attributes:
        value: of all entries.
    """

    value: float = 0.0

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the constant in our shape."""
        return np.full(shape, self.value, np.float32)


AS_IS = Layout()
STEM = Stem()
