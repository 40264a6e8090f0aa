"""Types of arrays: `Float[AnyArray, "N 25"]` says kind and shape. They are jaxtyping's, and tests check them.

Axes of one name have one size within a function; `*name` is several axes, `*batch` any.
"""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["AnyArray", "Bool", "Float", "Int"]

if TYPE_CHECKING:
    AnyArray = Any
else:
    AnyArray = jax.Array | np.ndarray
