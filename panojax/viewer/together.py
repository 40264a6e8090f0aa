"""One head of several dropped photos of a person."""

from collections.abc import Callable, Sequence

import numpy as np

from panojax import api
from panojax.inversion.doubts import contradictions, identity_network, strangers
from panojax.inversion.several import most_frontal
from panojax.params import Params
from panojax.viewer import subjects
from panojax.viewer.subjects import Subject


def make_together(
    params: Params,
    ready: Params,
    names: Sequence[str],
    images: np.ndarray,
    cameras: np.ndarray,
    tell: Callable[[str, float], None],
) -> tuple[Subject, int, list[str]]:
    """Inverts aligned portraits [K, S, S, 3] of one person, whose cameras [K, 25] are refined first.

    Args:
      params, ready: the model, and the same prepared for inference.
      names: of the photos.
      tell: what is going on and which part of it is done, in [0, 1].

    Returns:
      The subject, the place of its most frontal photo, and what is doubtful, in a line each.
    """
    warnings = []
    perception = identity_network(missing=lambda line: None)
    if perception is not None:
        warnings = strangers(perception, names, images, cameras)
    done = 0

    def moved_one() -> None:
        nonlocal done
        done += 1
        tell(f"moving the cameras of {len(names)} photos until they agree: {done}", 0.5 + 0.3 * done / len(names))

    tell(f"moving the cameras of {len(names)} photos until they agree", 0.5)
    refined, moves = api.refine_cameras(params, images, cameras, perception=perception, progress=moved_one)
    warnings += contradictions(names, moves)
    tell(f"making one head of {len(names)} photos", 0.8)
    frontal = int(most_frontal(refined, np.ones(len(names))))
    return subjects.from_photos(ready, images, np.asarray(refined), frontal, names[0]), frontal, warnings
