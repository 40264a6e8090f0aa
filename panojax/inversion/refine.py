"""Cameras of several portraits of one person, moved until they agree on the head.

Style codes do not know the camera, so the heads that they give have the model's own pose and size. Each portrait is
compared with a rendering of such a head, and its camera moved by a few Levenberg-Marquardt steps, whose derivatives go
through the renderer.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from panojax.arrays import AnyArray, Float
from panojax.camera import label as join_label
from panojax.camera import unpack
from panojax.config import Config
from panojax.encoders import dual
from panojax.encoders.stage import run
from panojax.errors import InputError
from panojax.generators.generator import Head, render_heads
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.pipeline import inference_context, of_one, visible_half
from panojax.inversion.stages import stages_of
from panojax.losses.perception import Perception
from panojax.nn.blur import gaussian_blur
from panojax.nn.stylegan2 import pool
from panojax.params import Params

PARAMETERS = 6  # of a camera: rotations about the world's axes, size, shift to the right and down
BLUR = 2.0  # pixels of 64 a side: the standard deviation under which pictures are compared
OUTLIER = 0.3  # differences beyond it, of pictures in [-1, 1], count less than their square
FACE_ANGLE = 60.0  # degrees from the front up to which identity is compared


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """How cameras are refined."""

    steps: int = 6
    """Levenberg-Marquardt steps of each camera."""
    degrees: float = 12.0
    """The farthest that a camera may turn about each axis."""
    percent: float = 8.0
    """The most that the size of the head, and its place as a share of the picture's side, may change."""
    usual_degrees: float = 4.0
    """How far cameras are expected to be off: their standard deviation."""
    usual_percent: float = 3.0
    """Likewise, of size and place."""
    noise: float = 0.3
    """Standard deviation of what is left between pictures in [-1, 1], for all pixels that are alike: the greater, the
    less cameras move."""
    identity: float = 1.0
    """Weight of the identity's distance."""
    side: int = 64
    """Pictures are compared at this side."""

    def __post_init__(self):
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        for name in ("degrees", "percent", "usual_degrees", "usual_percent", "noise"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        if self.side < 16:
            raise InputError(f"side must be at least 16, got {self.side}")
        if not (math.isfinite(self.identity) and self.identity >= 0):
            raise InputError(f"identity must be 0 or more, got {self.identity}")

    @property
    def bound(self) -> np.ndarray:
        """Of each parameter of a camera, [6]: radians, then shares."""
        return np.array([math.radians(self.degrees)] * 3 + [self.percent / 100] * 3, np.float32)

    @property
    def usual(self) -> np.ndarray:
        """Their standard deviations, [6]."""
        return np.array([math.radians(self.usual_degrees)] * 3 + [self.usual_percent / 100] * 3, np.float32)


@struct.dataclass
class Moves:
    """How far cameras [K] moved.

    Attributes:
      degrees: the angle that each turned by.
      percent: the greatest of the change of the head's size and of its place, as a share of the picture's side.
      bounded: whether it would have moved farther than it may.
      before, after: root mean squared difference between portrait and rendering, blurred, in [-1, 1].
    """

    degrees: jax.Array
    percent: jax.Array
    bounded: jax.Array
    before: jax.Array
    after: jax.Array


def move_camera(label: Float[AnyArray, " 25"], change: Float[AnyArray, " 6"]) -> Float[jax.Array, " 25"]:
    """A camera [25] turned around the origin by a rotation vector (radians, world axes), its focal length times the
    exponential of the fourth number, its centre shifted by the last two, in units of the picture's side."""
    cam2world, lens = unpack(jnp.asarray(label))
    turned = _rotation(change[:3]) @ cam2world[:3]
    size, right, down = change[3], change[4], change[5]
    lens = lens.at[:2, :2].multiply(jnp.exp(size)).at[0, 2].add(right).at[1, 2].add(down)
    return join_label(cam2world.at[:3].set(turned), lens)


def _rotation(vector: jax.Array) -> jax.Array:
    """[3, 3] of a rotation vector [3], by Rodrigues' formula; its derivative at 0 is finite."""
    x, y, z = vector
    zero = jnp.zeros(())
    cross = jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    squared = jnp.sum(jnp.square(vector))
    small = squared < 1e-12
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    sine = jnp.where(small, 1.0, jnp.sin(angle) / angle)
    cosine = jnp.where(small, 0.5, (1 - jnp.cos(angle)) / angle**2)
    return jnp.eye(3) + sine * cross + cosine * cross @ cross


def register(
    model: GeneratorConfig,
    variables: Any,
    head: Head,
    picture: Float[AnyArray, "S S 3"],
    label: Float[AnyArray, " 25"],
    perception: Perception,
    config: RefineConfig,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The change [6] of a camera that makes a head look like a picture; root mean squared differences before, after."""
    side = config.side
    target = pool(picture[None].astype(jnp.float32), side)
    heads = jax.tree.map(lambda x: x[None], head)
    toward = -unpack(label)[0][2, 2]
    identity = config.identity * (toward > math.cos(math.radians(FACE_ANGLE)))
    known = _direction(perception, target)
    sigma = BLUR * side / 64
    blur = functools.partial(gaussian_blur, sigma=sigma, radius=math.ceil(4 * sigma), axes=(1, 2), border="edge")

    def residuals(change):
        moved = move_camera(label, change)[None]
        raw = render_heads(model, variables, heads, moved, resolution=side).raw
        difference = blur(jnp.clip(raw.astype(jnp.float32), -1.2, 1.2) - target)
        # Charbonnier's: large differences, of hair say, count less than their square.
        robust = difference * jax.lax.stop_gradient((1 + jnp.square(difference / OUTLIER)) ** -0.25)
        parts = [robust.ravel() / (config.noise * math.sqrt(side)), change / config.usual]
        if perception.identity_network is not None:
            parts.append(identity * (_direction(perception, raw) - known).ravel())
        together = jnp.concatenate(parts)
        return together, (together, jnp.sqrt(jnp.mean(jnp.square(difference))))

    def evaluate(change):
        """What a step from here needs: the change, normal matrix, its right side, the cost; and the difference."""
        slope, (value, difference) = jax.jacfwd(residuals, has_aux=True)(change)
        return change, slope.T @ slope, slope.T @ value, jnp.sum(jnp.square(value)), difference

    def step(carry, _):
        best, damping, tried = carry
        found = evaluate(tried)  # the one place where anything is rendered, so that programs stay small
        better = found[3] < best[3]
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best)
        damping = jnp.where(better, damping / 4, damping * 8)
        change, normal, down, *_ = best
        lowered = jnp.linalg.solve(normal + damping * jnp.diag(jnp.diag(normal)), down)
        return (best, damping, jnp.clip(change - lowered, -config.bound, config.bound)), found[4]

    none = jnp.zeros(PARAMETERS)
    start = none, jnp.zeros((PARAMETERS, PARAMETERS)), none, jnp.float32(jnp.inf), jnp.float32(0)
    (best, _, _), differences = jax.lax.scan(step, (start, jnp.float32(0.04), none), length=config.steps + 1)
    return best[0], differences[0], best[4]


def _direction(perception, pictures):
    """Identity embeddings of unit length."""
    embedding = perception.embed(pool(pictures, 256))
    return embedding * jax.lax.rsqrt(jnp.sum(jnp.square(embedding), axis=-1, keepdims=True) + 1e-12)


def refine_cameras(
    params: Params,
    images: Float[AnyArray, "K S S 3"],
    cameras: Float[AnyArray, "K 25"],
    *,
    perception: Perception | None = None,
    config: RefineConfig = RefineConfig(),
    progress: Callable[[], object] | None = None,
) -> tuple[Float[jax.Array, "K 25"], Moves]:
    """Cameras of one person's portraits, moved until they agree on the head that the portraits' style codes give.

    Args:
      params: with encoders.
      images: K portraits, RGB in [-1, 1], as `panojax.invert_many` takes them.
      cameras: their labels.
      perception: its identity network is used, if it has one, where faces are seen.
      config: steps, bounds and weights.
      progress: called after each camera.

    Returns:
      Labels, and how far they moved.

    Raises:
      InputError: the model has no encoders, or shapes do not fit.
    """
    if params.config.encoder is None:
        raise InputError("params must hold encoders to refine cameras, got a generator alone")
    images, cameras = jnp.asarray(images), jnp.asarray(cameras, jnp.float32)
    if images.ndim != 4 or images.shape[-1] != 3 or cameras.shape != (len(images), 25):
        raise InputError(f"images must be [K, S, S, 3] and cameras [K, 25], got {images.shape} and {cameras.shape}")
    model, variables = params.config, params.generator
    heads = _coded_heads(model, variables, params.encoders, images, cameras)
    found = []
    perception = Perception() if perception is None else perception
    for i, (image, camera) in enumerate(zip(images, cameras)):
        head = dual.part(heads, i)
        found.append(_register(model.generator, variables, head, image, camera, perception, config))
        if progress is not None:
            progress()
    changes, before, after = (jnp.stack(column) for column in zip(*found))
    turns, rest = jnp.linalg.norm(changes[:, :3], axis=1), jnp.abs(changes[:, 3:])
    bounded = jnp.max(jnp.abs(changes) / config.bound, axis=1) > 1 - 1e-4
    moves = Moves(jnp.degrees(turns), 100 * jnp.max(rest, axis=1), bounded, before, after)
    return jax.vmap(move_camera)(cameras, changes), moves


_register = jax.jit(register, static_argnames=("model", "config"))


@functools.partial(jax.jit, static_argnums=0)
def _coded_heads(model: Config, variables: Any, encoders: Any, images: jax.Array, cameras: jax.Array) -> Head:
    """Heads [K] by the visible encoder's first stage, which gives them the model's own pose and size."""
    context, both = inference_context(model, variables, encoders, images, cameras)
    context, visible = visible_half(context, both)
    (first, *_) = stages_of(model.encoder)

    def make(row):
        return dual.part(run((first,), of_one(context, *row), visible)[0].heads, 0)

    return jax.lax.map(make, (context.pictures, context.labels))
