"""The dual encoder: two encoders of one architecture, "visible" and "occluded", as one (`kernels.stacked`)."""

from panojax.kernels.stacked import join, part

__all__ = ["OCCLUDED", "VISIBLE", "join", "part"]

VISIBLE, OCCLUDED = 0, 1
"""Places of the two along the leading axis of their stacked variables."""
