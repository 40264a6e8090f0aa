"""How finely to draw."""

import dataclasses

import scenes

from panojax.generators.generator_config import GeneratorConfig
from panojax.viewer.quality import FAST, SLOW, Quality, full_quality, moving_qualities, next_level


def test_qualities():
    released = GeneratorConfig()
    assert moving_qualities(released) == (Quality(16, False), Quality(32, False), Quality(64, False))
    assert full_quality(released) == Quality(64, True)
    tiny = scenes.tiny_config().generator
    assert moving_qualities(tiny) == (Quality(16, False),)
    assert moving_qualities(dataclasses.replace(tiny, rendering_resolution=24)) == (
        Quality(16, False),
        Quality(24, False),
    )


def test_level_follows_the_time_of_a_frame():
    assert next_level(1, 2 * SLOW, 3) == 0 == next_level(0, 2 * SLOW, 3)
    assert next_level(1, FAST / 2, 3) == 2 == next_level(2, FAST / 2, 3)
    assert next_level(1, (SLOW + FAST) / 2, 3) == 1


def test_level_settles_where_twice_the_side_takes_four_times_as_long():
    level, seen = 0, []
    for _ in range(10):
        level = next_level(level, 0.02 * 4**level, 3)
        seen.append(level)
    assert seen == [1] * 10
