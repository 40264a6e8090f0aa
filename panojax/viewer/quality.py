"""How finely to draw: while the camera moves as finely as it moves smoothly, in full when it is still."""

import dataclasses

from panojax.generators.generator_config import GeneratorConfig

# Seconds of a frame. The gap between them keeps the side from going to and fro.
SLOW, FAST = 1 / 8, 1 / 24
LEAST_SIDE = 16


@dataclasses.dataclass(frozen=True)
class Quality:
    """Side of the volume rendering, and whether the super-resolution follows or the raw picture is shown."""

    side: int
    final: bool


def full_quality(config: GeneratorConfig) -> Quality:
    """The model's own quality."""
    return Quality(config.rendering_resolution, True)


def moving_qualities(config: GeneratorConfig) -> tuple[Quality, ...]:
    """The qualities for a moving camera, coarsest first: raw pictures of a quarter, half and all of the side."""
    sides = {max(LEAST_SIDE, config.rendering_resolution // part) for part in (4, 2, 1)}
    return tuple(Quality(side, False) for side in sorted(sides))


def next_level(level: int, seconds: float, count: int) -> int:
    """The quality, by its number, for the next frame after one of quality `level` that took some seconds.

    Args:
      count: how many qualities there are.
    """
    if seconds > SLOW:
        return max(level - 1, 0)
    return min(level + 1, count - 1) if seconds < FAST else level
