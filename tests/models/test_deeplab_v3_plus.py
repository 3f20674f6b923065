import pytest
from counting import count, initialised

from jaxseg.errors import InputError
from jaxseg.models import DeepLabV3Plus
from jaxseg.models.backbones import VGG16, ResNet, ViT, Xception65


def over_resnet(depth, separable):
    return DeepLabV3Plus(num_classes=21, backbone=ResNet(depth=depth, output_stride=16), separable=separable)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (DeepLabV3Plus(num_classes=21), 41_055_413),
        (over_resnet(50, separable=False), 40_352_181),
        (over_resnet(101, separable=False), 59_344_309),
        (over_resnet(50, separable=True), 26_696_133),
        (over_resnet(101, separable=True), 45_688_261),
    ],
)
def test_parameters_of_the_published_networks(model, parameters):
    assert count(model) == parameters


def test_the_decoder_reads_48_channels_beside_the_pyramids_256():
    params = initialised(DeepLabV3Plus(num_classes=21, backbone=Xception65(middle_blocks=1)))["params"]
    assert params["low_level"]["conv"]["kernel"].shape == (1, 1, 256, 48)
    assert params["decoder1"]["depthwise"]["conv"]["kernel"].shape == (3, 3, 1, 256 + 48)
    assert params["classifier"]["kernel"].shape == (1, 1, 256, 21)


def test_image_pooling_can_be_left_out():
    model = DeepLabV3Plus(num_classes=2, backbone=Xception65(middle_blocks=1), features=4)
    assert "image_pooling" in initialised(model)["params"]["aspp"]
    assert "image_pooling" not in initialised(model.clone(image_pooling=False))["params"]["aspp"]


def test_any_backbone_with_a_map_at_stride_4_may_stand_below():
    backbone = VGG16(widths=(2, 2, 2, 2, 2))
    assert initialised(DeepLabV3Plus(num_classes=2, backbone=backbone, features=4))["params"]["low_level"]
    with pytest.raises(InputError, match=r"has maps at strides \(16,\), and the decoder of DeepLab v3\+ reads one at stride 4"):
        initialised(DeepLabV3Plus(num_classes=2, backbone=ViT(width=4, depth=1, num_heads=1, hidden=4)))
