import re
import types

import pytest

from panojax.data.pipeline import PipelineConfig
from panojax.data.speed import main, measure_speed
from panojax.errors import InputError


@pytest.mark.parametrize("memory", [0.0, 1.0])
def test_figures_are_of_the_images_that_were_fed(faces, monkeypatch, memory):
    clock, cpu = iter([10.0, 12.0]), iter([5.0, 8.0])
    watch = types.SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: next(cpu))
    monkeypatch.setattr("panojax.data.speed.time", watch)
    config = PipelineConfig(batch_size=4, resolution=32, prefetch=2, cache_gigabytes=memory)
    speed = measure_speed({"faces": faces}, config, batches=3)
    assert (speed.images_per_second, speed.cpu_seconds) == (4 * 3 / 2.0, 3.0 / (4 * 3))
    with pytest.raises(InputError, match="batches must be at least 1"):
        measure_speed({"faces": faces}, PipelineConfig(resolution=32), batches=0)


@pytest.mark.parametrize("kind", ["encoder", "views", "generator"])
def test_command_line_takes_every_kind_of_folder(faces, sets, capsys, tmp_path, kind):
    heads, photos = sets["make_heads"](tmp_path / "heads"), sets["make_folder"](tmp_path / "raw")
    (photos.parent / "masks").rename(photos / "masks")
    options = ["--masks", "masks", "--kind", kind, "--batch-size", "4", "--resolution", "16", "--batches", "2"]
    number = r"[\d.]+"
    words = f"{number} images per second; {number} ms of CPU per image, {number} images per second and free core"
    for folders in ([faces.folder], [str(heads)], [str(photos)], [faces.folder, str(heads), str(photos)]):
        assert main([*folders, *options, "--memory", "1"]) == 0
        assert re.fullmatch(words, capsys.readouterr().out.strip())
    assert main([str(tmp_path / "none")]) == 2
    assert "must hold dataset.json" in capsys.readouterr().err
