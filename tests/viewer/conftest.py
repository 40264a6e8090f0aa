import numpy as np
import pytest
from export_scene import bar_head, bar_params

import panojax
from panojax.viewer.scene import Scene
from panojax.viewer.subjects import from_head, from_latent


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer") / "model"
    panojax.save(bar_params(), folder)
    return folder


@pytest.fixture(scope="session")
def params(checkpoint):
    """As the command loads them, so that what it compiled serves here too."""
    return panojax.load(checkpoint)


@pytest.fixture(scope="session")
def scene(params):
    """A head from a latent, and one as from a file; one direction."""
    subjects = [from_latent(params, np.ones(16, np.float32), 0.7, "seed 1"), from_head(params, bar_head(), "kept")]
    generator = params.config.generator
    directions = {"smile": np.full((generator.num_ws, generator.w_dim), 0.3, np.float32)}
    return Scene(params, subjects, directions)
