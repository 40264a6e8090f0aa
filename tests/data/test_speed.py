import re
import types

import pytest

from panojax.data.pipeline import PipelineConfig
from panojax.data.speed import main, measure_speed
from panojax.errors import InputError


def test_figures_are_of_the_images_that_were_fed(faces, monkeypatch):
    clock, cpu = iter([10.0, 12.0]), iter([5.0, 8.0])
    watch = types.SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: next(cpu))
    monkeypatch.setattr("panojax.data.speed.time", watch)
    speed = measure_speed(faces, PipelineConfig(batch_size=4, resolution=32, prefetch=2), batches=3)
    assert (speed.images_per_second, speed.cpu_seconds) == (4 * 3 / 2.0, 3.0 / (4 * 3))
    with pytest.raises(InputError, match="batches must be at least 1"):
        measure_speed(faces, PipelineConfig(resolution=32), batches=0)


def test_command_line(faces, capsys, tmp_path):
    assert main([faces.folder, "--batch-size", "4", "--resolution", "32", "--batches", "2"]) == 0
    told = capsys.readouterr().out
    number = r"[\d.]+"
    words = f"{number} images per second; {number} ms of CPU per image, {number} images per second and free core"
    assert re.fullmatch(words, told.strip())
    assert main([str(tmp_path)]) == 2
    assert "exactly one prepared set" in capsys.readouterr().err
