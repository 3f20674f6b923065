"""Networks that were made in Caffe, under their authors' layer names: VGG16, FCN, DeconvNet, SegNet, DeepLab v1 and v2, U-Net.

Caffe's own files are not read. Where it runs, an ``.npz`` of a network is one line, and holds every blob as ``layer/number``::

    np.savez("fcn8s.npz", **{f"{k}/{i}": b.data for k, blobs in net.params.items() for i, b in enumerate(blobs)})

``layer.weight`` and ``layer.bias`` are read as well. Arrays are as Caffe has them, ``(out, in, h, w)``. These networks read BGR,
the mean colour off (not SegNet), in 8-bit units; the first convolution is reversed here, and the rest of it is in
:data:`jaxseg.ops.normalise.CAFFE`.

The authors of SegNet and DeconvNet computed the statistics of batch normalisation over the training set and put them into scale
and shift: two blobs, which become scale and bias here beside a mean of 0 and a variance that gives 1. With four blobs the last
two are mean and variance.

FCN was trained with ``padding="pad 100"`` and ``backbone=VGG16(first_padding=100)``, U-Net with ``padding="valid"`` and
``up_relu=True``.
"""

from collections.abc import Collection, Iterable
from typing import Any

from jaxseg.models.backbones.vgg import VGG16
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.deeplab_v1 import DeepLabV1
from jaxseg.models.deeplab_v2 import DeepLabV2
from jaxseg.models.fcn import FCN8s, FCN16s, FCN32s
from jaxseg.models.segnet import SegNet
from jaxseg.models.unet import UNet
from jaxseg.ops.normalise import CAFFE, Normalise
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import AS_IS, Constant, Layout, Stem, SwappedHalves, Transposed
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Name, Row, within

Names = Collection[str]

BGR = Stem(bgr=True)

#: The constant of our batch normalisations, which a variance of ``1 - EPSILON`` cancels.
EPSILON = 1e-5

MEAN_OFF = Preprocessing(CAFFE, "BGR", (0.0, 255.0))
AS_STORED = Preprocessing(Normalise((0.0, 0.0, 0.0), (1 / 255,) * 3), "BGR", (0.0, 255.0))


def layer(ours: str, *theirs: str, layout: Layout = AS_IS) -> Row:
    """Return the row of a layer, whose blobs may be numbered or named."""
    spellings: list[Name] = []
    for name in theirs:
        spellings += [f"{name}/{{blob}}", name]
    return Row(ours, tuple(spellings), layout)


def norm(ours: str, theirs: str) -> tuple[Row, ...]:
    """Return the rows of a batch normalisation of four blobs or of two."""
    return (
        layer(f"{ours}/norm", theirs),
        Row(f"{ours}/norm/mean", f"{theirs}/0", Constant(value=0.0)),
        Row(f"{ours}/norm/var", f"{theirs}/0", Constant(value=1.0 - EPSILON)),
    )


def vgg(model: VGG16, names: Names) -> tuple[Row, ...]:
    """The convolutions, and the norms as SegNet or DeconvNet calls them."""
    norms = "bn{s}_{n}" if any(name.startswith("bn1_1") for name in names) else "conv{s}_{n}_bn"
    return layer("conv1_1", "conv1_1", layout=BGR), layer("conv{s}_{n}", "conv{s}_{n}"), *norm("bn{s}_{n}", norms)


def on_vgg(model: Any, names: Names) -> tuple[Row, ...]:
    """VGG16 inside another network, fc6 and fc7."""
    backbone = vgg(model.backbone, names) if isinstance(model.backbone, VGG16) else ()
    return *within("backbone/", "", backbone), layer("fc/fc{n}", "fc{n}")


def fcn(model: FCN32s, names: Names) -> tuple[Row, ...]:
    """FCN-32s, 16s and 8s, whose enlargements go by factor or by layer."""
    final = {32: ("upscore",), 16: ("upscore16",), 8: ("upscore8", "upscore")}[model.final_stride]
    enlarge = {"upscore16": ("upscore2",), "upscore8": ("upscore_pool4",), "upscore_final": final}
    return (
        *on_vgg(model, names),
        layer("score_fr", "score_fr"),
        layer("score_pool{n}", "score_pool{n}"),
        *(Row(ours, _kernels(theirs), Transposed()) for ours, theirs in enlarge.items()),
    )


def deconvnet(model: DeconvNet, names: Names) -> tuple[Row, ...]:
    """DeconvNet."""
    return (
        *on_vgg(model, names),
        *norm("fc/bn{n}", "bnfc{n}"),
        layer("deconv6", "fc6-deconv", layout=Transposed()),
        *norm("debn6", "fc6-deconv-bn"),
        layer("deconv{s}_{n}", "deconv{s}_{n}", layout=Transposed()),
        *norm("debn{s}_{n}", "debn{s}_{n}"),
        layer("classifier", "seg-score-voc", "seg-score"),
    )


def segnet(model: SegNet, names: Names) -> tuple[Row, ...]:
    """SegNet, whose decoder's layers have the encoder's names and a D; the last is the classifier."""
    return (
        *within("backbone/", "", vgg(model.backbone, names)),
        layer("decoder_conv{s}_{n}", "conv{s}_{n}_D"),
        *norm("decoder_bn{s}_{n}", "conv{s}_{n}_D_bn"),
        layer("classifier", "conv1_1_D"),
    )


def deeplab_v1(model: DeepLabV1, names: Names) -> tuple[Row, ...]:
    """DeepLab-LargeFOV."""
    return *on_vgg(model, names), layer("classifier", "fc8_voc12", "fc8_pascal")


def deeplab_v2(model: DeepLabV2, names: Names) -> tuple[Row, ...]:
    """DeepLab v2 on VGG16, a branch for each rate."""
    backbone = vgg(model.backbone, names) if isinstance(model.backbone, VGG16) else ()
    return (
        *within("backbone/", "", backbone),
        layer("aspp/fc{b}/fc{n}", "fc{n}_{b}"),
        layer("aspp/classifier{b}", "fc8_voc12_{b}", "fc8_pascal_{b}"),
    )


def unet(model: UNet, names: Names) -> tuple[Row, ...]:
    """U-Net, levels from 0, some of whose names end in New; of two maps that are joined the enlarged one comes first."""
    rows: list[Row] = []
    for level in range(model.depth + 1):
        part = "bottom" if level == model.depth else f"contract{level}"
        first = Stem() if level == 0 else AS_IS
        rows += [layer(f"{part}/conv1", f"conv_d{level}a-b", layout=first), layer(f"{part}/conv2", f"conv_d{level}b-c")]
    for level in range(model.depth):
        below = f"d{level + 1}c" if level + 1 == model.depth else f"u{level + 1}d"
        rows += [
            layer(f"up{level}", *_new(f"upconv_{below}_u{level}a", "_NEW"), layout=Transposed()),
            layer(f"expand{level}/conv1", *_new(f"conv_u{level}b-c", "_New"), layout=SwappedHalves()),
            layer(f"expand{level}/conv2", *_new(f"conv_u{level}c-d", "_New")),
        ]
    return *rows, layer("classifier", *_new("conv_u0d-score", "_New"))


def _new(name: str, end: str) -> tuple[str, str]:
    return name, name + end


def _kernels(layers: Iterable[str]) -> tuple[Name, ...]:
    return tuple(name + end for name in layers for end in ("/0", ".weight"))


CONV1_1 = r"conv1_1(/0|\.weight)$"

FORMATS = (
    Format("SegNet of Caffe", (), (CONV1_1, "conv1_1_D"), {SegNet: segnet}, {VGG16: vgg}, preprocessing=AS_STORED),
    Format("DeconvNet of Caffe", (), (CONV1_1, "fc6-deconv"), {DeconvNet: deconvnet}, {VGG16: vgg}, preprocessing=MEAN_OFF),
    Format("U-Net of Caffe", (), (r"conv_d0a-b(/0|\.weight)$",), {UNet: unet}),
    Format(
        "VGG16, FCN or DeepLab of Caffe",
        (),
        (CONV1_1,),
        {
            VGG16: vgg,
            FCN32s: fcn,
            FCN16s: fcn,
            FCN8s: fcn,
            DeepLabV1: deeplab_v1,
            DeepLabV2: deeplab_v2,
            DeconvNet: on_vgg,
        },
        preprocessing=MEAN_OFF,
    ),
)
