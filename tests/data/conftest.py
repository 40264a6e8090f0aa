"""Tiny sets, prepared, see `folders_of_pictures`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders_of_pictures import (
    SIDE,
    add_mirrored,
    disc,
    label,
    make_folder,
    make_heads,
    picture,
    picture_number,
    spread_yaw,
)

from panojax.config import Config
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.generated import GeneratedHeads, GeneratedOptions
from panojax.data.prepare import prepare
from panojax.data.records import RecordSet, open_set
from panojax.params import Params, random_params, tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Apache Beam needs a protobuf that warns about what TFDS asks it."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 24 pictures with masks beside."""
    return make_folder(tmp_path / "raw")


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    """24 pictures with masks, prepared, all in the train split."""
    root = tmp_path_factory.mktemp("faces")
    source = make_folder(root / "raw")
    options = FolderOptions(source, "faces", masks=source.parent / "masks", size=SIDE, test_share=0)
    return open_set(prepare(options, root / "sets"))


@pytest.fixture(scope="session")
def small_params() -> Params:
    """A generator that is quick to compile, filled at random."""
    sizes = {"mapping_layers": 1, "channel_max": 8, "plane_resolution": 8, "superresolution_channels": (8, 8)}
    samples = {"background": False, "rendering_resolution": 8, "depth_samples": 6, "importance_samples": 6}
    return random_params(Config(dataclasses.replace(tiny().generator, **sizes, **samples)))


@pytest.fixture(scope="session")
def generated(small_params: Params) -> GeneratedHeads:
    """Samples of 32 pixels from that generator."""
    return GeneratedHeads(small_params, seed=3, options=GeneratedOptions(resolution=32, block=2, kept_blocks=2))


@pytest.fixture(scope="session")
def sets() -> dict[str, Callable[..., Any]]:
    """Helpers of `folders_of_pictures`, for tests that make their own sets."""
    helpers = (picture, picture_number, disc, label, spread_yaw, make_folder, add_mirrored, make_heads)
    return {helper.__name__: helper for helper in helpers}
