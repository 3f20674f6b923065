"""The three networks of the step benchmark in PyTorch, for those who have it installed."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from jaxseg.benchmarks.networks import CLASSES


def block(inputs: int, features: int, side: int = 3, strides: int = 1, rate: int = 1, act: bool = True) -> nn.Sequential:
    """Convolve, normalise, rectify."""
    conv = nn.Conv2d(inputs, features, side, strides, rate * (side - 1) // 2, rate, bias=False)
    norm = nn.BatchNorm2d(features, track_running_stats=False)
    return nn.Sequential(conv, norm, *([nn.ReLU(inplace=True)] if act else []))


class UNet(nn.Module):
    """See :func:`jaxseg.benchmarks.networks.unet`."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        inputs = (3, *widths[:4])
        self.down = nn.ModuleList(nn.Sequential(block(i, o), block(o, o)) for i, o in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2, bias=False) for o in widths[3::-1])
        self.join = nn.ModuleList(nn.Sequential(block(2 * o, o), block(o, o)) for o in widths[3::-1])
        self.classify = nn.Conv2d(64, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        skips = []
        for n, stage in enumerate(self.down):
            x = stage(F.max_pool2d(x, 2) if n else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[3::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.classify(x)


class SegNet(nn.Module):
    """See :func:`jaxseg.benchmarks.networks.segnet`."""

    def __init__(self) -> None:
        super().__init__()
        channels, down, up = 3, [], []
        for features, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            down.append(nn.Sequential(*(block(channels if n == 0 else features, features) for n in range(count))))
            channels = features
        for features, after, count in ((512, 512, 3), (512, 256, 3), (256, 128, 3), (128, 64, 2), (64, 64, 1)):
            up.append(nn.Sequential(*(block(features, after if n == count - 1 else features) for n in range(count))))
        self.down, self.up, self.classify = nn.ModuleList(down), nn.ModuleList(up), nn.Conv2d(64, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        kept = []
        for stage in self.down:
            x = stage(x)
            size = x.shape[2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            kept.append((indices, size))
        for stage in self.up:
            indices, size = kept.pop()
            x = stage(F.max_unpool2d(x, indices, 2, output_size=size))
        return self.classify(x)


class Bottleneck(nn.Module):
    """ResNet's block of 1x1, 3x3, 1x1."""

    def __init__(self, inputs: int, width: int, strides: int, rate: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            block(inputs, width, 1), block(width, width, 3, strides, rate), block(width, 4 * width, 1, act=False)
        )
        self.skip = nn.Identity() if inputs == 4 * width else block(inputs, 4 * width, 1, strides, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the body to the skip."""
        return F.relu(self.skip(x) + self.body(x), inplace=True)


class DeepLab(nn.Module):
    """See :func:`jaxseg.benchmarks.networks.deeplab`."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = [block(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
        channels = 64
        for width, count, strides, rate in ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4)):
            for n in range(count):
                stages.append(Bottleneck(channels, width, strides if n == 0 else 1, rate))
                channels = 4 * width
        self.backbone = nn.Sequential(*stages)
        self.branches = nn.ModuleList([block(2048, 256, 1), *(block(2048, 256, 3, 1, r) for r in (12, 24, 36))])
        self.pooled = block(2048, 256, 1)
        self.head = nn.Sequential(block(1280, 256, 1), block(256, 256), nn.Conv2d(256, CLASSES, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        size = x.shape[2:]
        x = self.backbone(x)
        parts = [branch(x) for branch in self.branches]
        parts.append(self.pooled(x.mean((2, 3), keepdim=True)).expand_as(parts[0]))
        return F.interpolate(self.head(torch.cat(parts, 1)), size, mode="bilinear", align_corners=False)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"unet": UNet, "vgg16-segnet": SegNet, "resnet50-atrous": DeepLab}


def train_step(name: str, image: Any, labels: Any, channels_last: bool) -> Callable[[], float]:
    """Return a function that makes one step of SGD with momentum and returns the loss."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = NETWORKS[name]().to(memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    x = torch.tensor(image).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    y = torch.tensor(labels).long()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
