"""Identity embeddings: ArcFace networks on the shared trunk, frozen (in the identity loss and in its metric)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from panojax.errors import InputError
from panojax.nn.ir_se import TrunkConfig, trunk_features
from panojax.nn.layers import BatchNorm, Numerics, adaptive_average_pool

_FACE = 112  # height and width of the faces that the networks read


@dataclasses.dataclass(frozen=True)
class ArcFaceConfig:
    """An identity network."""

    trunk: TrunkConfig
    """The trunk, fed with 112 x 112 faces."""
    affine: bool
    """Whether the last batch norm has a scale and a bias."""
    embedding_dim: int = 512
    """Length of an embedding."""
    dtype: str = "float32"
    """Of activations and products: "float32" or "bfloat16"."""


def ir_se50(*, affine: bool = True, dtype: str = "float32") -> ArcFaceConfig:
    """IR-SE-50, the identity loss's network. `model_ir_se50.pth` has an affine last batch norm."""
    return ArcFaceConfig(TrunkConfig(), affine=affine, dtype=dtype)


def ir101(*, affine: bool = False, dtype: str = "float32") -> ArcFaceConfig:
    """IR-101, the metric's network. `CurricularFace_Backbone.pth` has no affine last batch norm."""
    return ArcFaceConfig(TrunkConfig(depths=(3, 13, 30, 3), squeeze_excite=False), affine=affine, dtype=dtype)


def identity_embedding(config: ArcFaceConfig, variables: Any, face: jax.Array) -> jax.Array:
    """Embeds faces on the unit sphere; the cosine of two embeddings is their inner product.

    Args:
      config: the network.
      variables: its {"params", "batch_stats"}, as `abstract_arcface` shapes them.
      face: [N, 112, 112, 3], RGB in [-1, 1]: a crop by `face_crop`, or an aligned face.

    Returns:
      [N, embedding_dim], float32, of unit length.

    Raises:
      InputError: `face` has another shape.
    """
    if face.ndim != 4 or face.shape[1:] != (_FACE, _FACE, 3):
        raise InputError(f"face must be [N, {_FACE}, {_FACE}, 3], got {face.shape}")
    embedding: Any = _network(config).apply(variables, face)
    return embedding


def face_crop(image: jax.Array) -> jax.Array:
    """The face of a portrait framed as in FFHQ: rows 35:223 and columns 32:220 of it at 256 px, pooled to 112.

    Other sizes are pooled to 256 first (`adaptive_average_pool`, as in pSp's identity loss).

    Args:
      image: [..., H, W, C].

    Returns:
      [..., 112, 112, C], in the same range.
    """
    if image.shape[-3:-1] != (256, 256):
        image = adaptive_average_pool(image, 256)
    return adaptive_average_pool(image[..., 35:223, 32:220, :], _FACE)


def abstract_arcface(config: ArcFaceConfig) -> Any:
    """The shapes of the network's variables, as a converter's template."""
    face = jax.ShapeDtypeStruct((1, _FACE, _FACE, 3), jnp.float32)
    return jax.eval_shape(_network(config).init, jax.random.key(0), face)


def _network(config: ArcFaceConfig) -> "ArcFace":
    return ArcFace(config.trunk, config.affine, config.embedding_dim, Numerics(config.dtype))


class ArcFace(nn.Module):
    """[N, H, W, 3] -> [N, embedding_dim] of unit length. PyTorch's counterpart is `Backbone`, in eval mode only."""

    trunk: TrunkConfig
    affine: bool
    embedding_dim: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, face: jax.Array) -> jax.Array:
        numerics = self.numerics
        (x,) = trunk_features(self.trunk, face, self.trunk.stage_ends[-1:], train=False, numerics=numerics)
        x = BatchNorm(numerics, name="output_layer.0")(x, train=False)
        x = x.transpose(0, 3, 1, 2).reshape(
            x.shape[0], -1
        )  # the linear layer's inputs run over channels, rows, columns
        x = nn.Dense(self.embedding_dim, dtype=numerics.dtype, param_dtype=numerics.param_dtype, name="output_layer.3")(
            x
        )
        x = BatchNorm(numerics, affine=self.affine, name="output_layer.4")(x, train=False).astype(jnp.float32)
        return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), -1, keepdims=True))
