"""The frozen networks of the reconstruction loss: a perceptual distance and an identity embedding."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.converters.layout import from_state_dict
from panojax.converters.read import read_tensors
from panojax.errors import InputError
from panojax.losses.lpips import LPIPS, load_lpips
from panojax.losses.sface import load_sface, sface_embedding
from panojax.nn.arcface import ArcFaceConfig, abstract_arcface, face_crop, identity_embedding, ir_se50
from panojax.nn.graph import Graph

SAME_PERSON = 0.637  # of SFace, by OpenCV's threshold of the cosine, 0.363
SAME_PERSON_ARCFACE = 0.7


@struct.dataclass
class Perception:
    """Perceptual distance and identity: a pytree of weights, whose networks are static under `jit`.

    Attributes:
      lpips: variables of `lpips_network`.
      identity: variables of `identity_network`.
      lpips_network: None counts every pair as 0 apart.
      identity_network: ArcFace or SFace; None gives every face the same embedding.
    """

    lpips: Any = None
    identity: Any = None
    lpips_network: LPIPS | None = struct.field(pytree_node=False, default=None)
    identity_network: ArcFaceConfig | Graph | None = struct.field(pytree_node=False, default=None)

    @property
    def same_person(self) -> float:
        """The distance, 1 - cosine, of two pictures' identities up to which they may show one person."""
        return SAME_PERSON if isinstance(self.identity_network, Graph) else SAME_PERSON_ARCFACE

    def distance(self, image: jax.Array, target: jax.Array) -> jax.Array:
        """LPIPS of pictures [N, H, W, 3] in [-1, 1] -> [N]."""
        if self.lpips_network is None:
            return jnp.zeros(image.shape[0])
        distances: Any = self.lpips_network.apply(self.lpips, image, target)
        return distances

    def embed(self, image: jax.Array) -> jax.Array:
        """Identity embeddings of portraits [N, H, W, 3] in [-1, 1], framed as in FFHQ -> [N, E]."""
        if self.identity_network is None:
            return jnp.ones((image.shape[0], 1))
        face = face_crop(image)
        if isinstance(self.identity_network, Graph):
            return sface_embedding(self.identity_network, self.identity, face)
        return identity_embedding(self.identity_network, self.identity, face)


def load_perception(lpips: str = "alex", identity: str = "sface") -> Perception:
    """Loads the networks.

    Args:
      lpips: "alex", "vgg" or "none".
      identity: "sface", the path of ArcFace's `model_ir_se50.pth` (the paper's), or "none".

    Raises:
      InputError: weights are not there, or do not fit.
    """
    network, variables = (None, None) if lpips == "none" else load_lpips(lpips)
    if identity == "none":
        return Perception(lpips=_arrays(variables), lpips_network=network)
    if identity == "sface":
        graph, weights = load_sface()
        return Perception(_arrays(variables), _arrays(weights), network, graph)
    if not pathlib.Path(identity).is_file():
        raise InputError(f'identity must be "sface", "none" or the path of model_ir_se50.pth, got {identity!r}')
    arcface = ir_se50()
    weights = from_state_dict(abstract_arcface(arcface), read_tensors(identity), what="ArcFace IR-SE-50")
    return Perception(_arrays(variables), _arrays(weights), network, arcface)


def _arrays(tree):
    return jax.device_put(tree)
