import pytest
from export_scene import bar_head, bar_params

import panojax
from panojax.export import colours
from panojax.files.head_file import save_head


@pytest.fixture(autouse=True)
def _few_occluders(monkeypatch):
    """Small pictures need no more in the depth test."""
    monkeypatch.setattr(colours, "OCCLUDERS", 40_000)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with a model and a head of it."""
    folder = tmp_path_factory.mktemp("export")
    params = bar_params()
    panojax.save(params, folder / "model")
    save_head(bar_head(), folder / "head.npz", params=params)
    return folder
