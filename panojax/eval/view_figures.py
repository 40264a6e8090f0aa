"""One head seen from one camera, and how far the view is from a true picture."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.errors import InputError
from panojax.eval.faces import aligned_face
from panojax.eval.feature_networks import Networks, cosine
from panojax.eval.samples import Picture
from panojax.generators.generator import Head, View, render_heads
from panojax.generators.generator_config import GeneratorConfig
from panojax.nn.stylegan2 import pool

MEASURES = ("l2", "lpips", "identity", "aligned", "missed", "mask", "depth")
"""Figures of a view: mean squared error of the picture in [-1, 1]; LPIPS; cosines of two identity networks, and 1 where
the second found no face, else 0; mean squared error of the mask in [0, 1]; mean absolute error of the depth in world
units, where both show something."""

IDENTITIES = ("identity", "aligned")
"""What `embed` may give."""


@functools.partial(jax.jit, static_argnames=("config", "side"))
def look(config: GeneratorConfig, variables: Any, head: Head, label: jax.Array, *, side: int) -> View:
    """The view of a head [1, ...] from a label [25], without the batch axis; its picture is at most `side` wide."""
    view = render_heads(config, variables, head, label[None])
    image = view.image.astype(jnp.float32)
    image = pool(image, side) if image.shape[1] > side else image
    return jax.tree.map(lambda x: x[0], dataclasses.replace(view, image=jnp.clip(image, -1, 1)))


def see(config: GeneratorConfig, variables: Any, head: Head, label: np.ndarray, *, side: int) -> Any:
    """`look` as NumPy arrays on the host.

    Raises:
      InputError: the picture is not finite.
    """
    view = jax.device_get(look(config, variables, head, label, side=side))
    if not np.isfinite(view.image).all():
        raise InputError("checkpoint must give finite pictures, got NaN or infinity: its parameters are broken")
    return view


def embed(networks: Networks, image: np.ndarray, *, face: bool = True) -> dict[str, np.ndarray]:
    """Identities of a picture [S, S, 3]: {"identity": [E], "aligned": [E]}, the latter NaN where no face is found.

    `face` False looks for none.
    """
    embeddings = {}
    if networks.identity is not None:
        embeddings["identity"] = networks.identity(image[None])[0]
    if networks.aligned is not None:
        found = aligned_face(image, networks.detect) if face else None
        embedding = networks.aligned(np.zeros((1, 112, 112, 3), np.float32) if found is None else found[None])[0]
        embeddings["aligned"] = np.full_like(embedding, np.nan) if found is None else embedding
    return embeddings


def compare(networks: Networks, view: Any, picture: Picture, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """`MEASURES` of a view; those that need what is not there are left out.

    Args:
      networks: None for LPIPS or an identity leaves it out.
      view: of `see`.
      picture: the true one, as wide as the view's.
      truth: `embed` of it.

    Returns:
      {measure: figure}; "aligned" is NaN where no face is found in either picture.
    """
    figures = {"l2": float(np.mean(np.square(view.image.astype(np.float64) - picture.image)))}
    if networks.lpips is not None:
        figures["lpips"] = float(networks.lpips(view.image[None], picture.image[None])[0])
    has_face = not np.isnan(truth.get("aligned", np.zeros(1))).any()
    for name, embedding in embed(networks, view.image, face=has_face).items():
        figures[name] = float(cosine(embedding, truth[name]))
    if "aligned" in figures:
        figures["missed"] = float(np.isnan(figures["aligned"]))
    if picture.mask is not None:
        figures["mask"] = mask_error(view.mask[..., 0], picture.mask)
    if picture.depth is not None:
        figures["depth"] = depth_error(view, picture.depth)
    return figures


def mask_error(mask: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared error of masks [R, R] and [S, S] in [0, 1], the larger one averaged to the smaller one's pixels."""
    side = min(mask.shape[0], truth.shape[0])
    return float(np.mean(np.square(_pooled(np.clip(mask, 0, 1), side) - _pooled(truth, side))))


def depth_error(view: Any, truth: np.ndarray, *, threshold: float = 0.5) -> float:
    """Mean |difference| of a view's depth [R, R, 1] and a true one [S, S], in world units.

    Both at the smaller side, over pixels that the view covers by more than `threshold` and whose true pixels all show
    something; NaN where there is none.
    """
    side = min(view.depth.shape[0], truth.shape[0])
    seen = (_pooled(view.weight[..., 0], side) > threshold) & (_pooled(truth > 0, side) > 0.999)
    difference = np.abs(_pooled(view.depth[..., 0], side) - _pooled(truth, side))
    return float(difference[seen].mean()) if seen.any() else float("nan")


def _pooled(x: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(pool(jnp.asarray(x, jnp.float32)[None, ..., None], side)[0, ..., 0])
