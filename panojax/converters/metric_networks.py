"""The frozen networks of the evaluation from their published files."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from panojax.converters.layout import from_state_dict
from panojax.converters.read import read_tensors
from panojax.nn.arcface import abstract_arcface, ir101, ir_se50
from panojax.nn.deeplab import DeepLabV3
from panojax.nn.inception import FIDInception

Path = str | pathlib.Path


def read_ir_se50(path: Path) -> Any:
    """Variables of the identity loss's IR-SE-50, from `model_ir_se50.pth`.

    Raises (here and below):
      InputError: the file cannot be read or does not fit; all names are reported at once.
    """
    return from_state_dict(abstract_arcface(ir_se50()), read_tensors(path), what="ArcFace IR-SE-50")


def read_ir101(path: Path) -> Any:
    """Variables of the identity metric's IR-101, from `CurricularFace_Backbone.pth`."""
    return from_state_dict(abstract_arcface(ir101()), read_tensors(path), what="CurricularFace IR-101")


def read_inception(path: Path) -> Any:
    """Variables of FID's Inception-v3, from `pt_inception-2015-12-05-6726825d.pth`."""
    return from_state_dict(_shapes(FIDInception(), 96), read_tensors(path), what="FID's Inception-v3")


def read_deeplab(path: Path) -> Any:
    """Variables of DeepLabv3, from torchvision's `deeplabv3_resnet101_coco-586e9e4e.pth`."""
    tensors = {name: x for name, x in read_tensors(path).items() if not name.startswith("aux_classifier.")}
    return from_state_dict(_shapes(DeepLabV3(), 64), tensors, what="DeepLabv3 ResNet-101")


def _shapes(network: Any, side: int) -> Any:
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
