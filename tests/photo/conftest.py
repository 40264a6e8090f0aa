"""Pictures that several tests share."""

import numpy as np
import pytest
import skimage.data


@pytest.fixture(scope="session")
def astronaut():
    """NASA's portrait of Eileen Collins, [512, 512, 3] in [-1, 1]; her face is 112 pixels high at (224, 118)."""
    return skimage.data.astronaut() / np.float32(127.5) - 1
