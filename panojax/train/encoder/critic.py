"""Critics of what encoders make: of tri-grids, occlusion-aware (paper, Table 6), and of style codes (e4e)."""

import jax.numpy as jnp
from flax import linen as nn

from panojax.errors import InputError
from panojax.nn.layers import BatchNorm, Numerics, conv


class TriGridCritic(nn.Module):
    """Table 6: five 3 x 3 convolutions without biases, batch norms after the inner ones, a mean over space.

    Attributes:
      in_channels: 3 planes x 32 features x D 3 = 288; 3 for the ablation that judges pictures of the back.
      widths: features of the convolutions but the last.
      numerics: compute type, and the mapped axis that the batch norms average over.

    Variables: `params`, and `batch_stats` (running mean and variance), mutable in training.
    """

    in_channels: int = 288
    widths: tuple[int, ...] = (64, 128, 256, 512)
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """x [N, H, W, in_channels] -> logits [N], float32; greater is more like a synthesised tri-grid.

        `train` normalises with the batch's own statistics and updates the running ones, so logits are then not
        independent of one another.

        Raises:
          InputError: the shape is another.
        """
        if x.ndim != 4 or x.shape[-1] != self.in_channels or min(x.shape[1:3]) < 3:
            raise InputError(f"x must be [N, H, W, {self.in_channels}] with H and W at least 3, got {x.shape}")
        for i, features in enumerate(self.widths):
            index = 3 * i - 1 if i else 0
            x = conv(features, 3, numerics=self.numerics, name=f"net.{index}")(x)
            if i:
                x = BatchNorm(self.numerics, name=f"net.{index + 1}")(x, train=train)
            x = jnp.where(x >= 0, x, 0.2 * x)
        name = f"net.{3 * len(self.widths) - 1}"
        last = nn.Conv(1, (3, 3), padding="VALID", use_bias=False, dtype=self.numerics.dtype, name=name)(x)
        return jnp.mean(last, axis=(1, 2, 3), dtype=jnp.float32)


class CodeCritic(nn.Module):
    """e4e's latent critic: four linear layers, leaky ReLU of slope 0.2 between. PyTorch's LatentCodesDiscriminator.

    Attributes:
      w_dim: length of a code, and width of the hidden layers.
    """

    w_dim: int = 512

    @nn.compact
    def __call__(self, codes, *, train: bool = False):
        """codes [N, w_dim] -> logits [N], float32; greater is more like a mapped latent. `train` changes nothing.

        Raises:
          InputError: the shape is another.
        """
        if codes.ndim != 2 or codes.shape[-1] != self.w_dim:
            raise InputError(f"codes must be [N, {self.w_dim}], got {codes.shape}")
        x = codes
        for i in range(3):
            x = nn.Dense(self.w_dim, name=f"mlp.{2 * i}")(x)
            x = jnp.where(x >= 0, x, 0.2 * x)
        return nn.Dense(1, name="mlp.6")(x)[:, 0]
