"""Which of many pictures of one person to make a head of: sharp ones, from all around."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage

NARROWEST = 5.0  # degrees of yaw between pictures that are both worth having, about
WINDOW = 4  # successive frames of a video of which the sharpest is looked at


def blur_measure(picture: np.ndarray) -> float:
    """Variance of the Laplacian of a picture [H, W, 3], in bytes: the less, the more blurred."""
    return float(ndimage.laplace(picture.astype(np.float32).mean(-1)).var())


def sharp_frames(frames: Iterable[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """Of every four successive frames (seconds, uint8 [H, W, 3]) the sharpest."""
    best: list[tuple[float, np.ndarray]] = []
    sharpest = -1.0
    for i, (seconds, frame) in enumerate(frames):
        measure = blur_measure(frame)
        if i % WINDOW == 0:
            best.append((seconds, frame))
            sharpest = measure
        elif measure > sharpest:
            best[-1], sharpest = (seconds, frame), measure
    return best


def spread_over_yaws(yaws: Sequence[float], sharpness: Sequence[float], most: int) -> list[int]:
    """Which pictures to take, by their places: the sharpest of each of up to `most` equal parts of the yaws' range.

    Args:
      yaws: degrees, -180 to 180.
      sharpness: as great as it likes.
      most: pictures at most. Where yaws span little, fewer are taken, about one for each 5 degrees.
    """
    low, high = min(yaws), max(yaws)
    parts = max(1, min(most, 1 + int((high - low) / NARROWEST)))
    chosen: dict[int, int] = {}
    for i, yaw in enumerate(yaws):
        part = min(parts - 1, int((yaw - low) / max(high - low, 1e-6) * parts))
        if part not in chosen or sharpness[i] > sharpness[chosen[part]]:
            chosen[part] = i
    return sorted(chosen.values())
