"""The Gaussian blur against SciPy's, at the borders too."""

import numpy as np
import pytest
from scipy import ndimage

from panojax.nn.blur import gaussian_blur


@pytest.mark.parametrize(("border", "scipys"), [("edge", "nearest"), ("reflect", "mirror"), ("constant", "constant")])
def test_against_scipy(border, scipys):
    x = np.random.default_rng(0).normal(size=(2, 20, 17, 3)).astype(np.float32)
    got = gaussian_blur(x, sigma=1.5, radius=5, axes=(1, 2), border=border)
    want = ndimage.gaussian_filter(x, 1.5, axes=(1, 2), radius=5, mode=scipys)
    np.testing.assert_allclose(got, want, atol=1e-5)
