"""What is doubtful of several photos that are to show one person, in one line each."""

from collections.abc import Callable, Sequence

import numpy as np

from panojax.arrays import AnyArray, Float
from panojax.errors import InputError
from panojax.extras import need
from panojax.inversion.refine import Moves, RefineConfig
from panojax.inversion.several import odd_one
from panojax.losses.perception import Perception, load_perception


def identity_network(*, missing: Callable[[str], object]) -> Perception | None:
    """The network that tells people apart; None where it is not installed, which `missing` is told in one line."""
    try:
        need("onnx", "comparing the photos' identities")
        return load_perception("none", "sface")
    except InputError as error:
        missing(str(error))
        return None


def strangers(
    perception: Perception,
    names: Sequence[str],
    images: Float[AnyArray, "K S S 3"],
    cameras: Float[AnyArray, "K 25"],
) -> list[str]:
    """A warning where one of K photos seems to show somebody else, see `several.odd_one`."""
    odd = odd_one(perception, images, cameras)
    if odd is None:
        return []
    index, distance = odd
    return [
        f"photo {names[index]} seems to show another person than the others: its identity distance is "
        f"{distance:.2f}, and of one person's photos it is below {perception.same_person:.2f}"
    ]


def contradictions(names: Sequence[str], moves: Moves, limits: RefineConfig | None = None) -> list[str]:
    """A warning for each photo whose camera wanted to move farther than it may."""
    limits = RefineConfig() if limits is None else limits
    return [
        f"photo {name}: its camera contradicts what it shows, it would move more than {limits.degrees:g} degrees "
        f"or {limits.percent:g} percent"
        for name, bounded in zip(names, np.asarray(moves.bounded), strict=True)
        if bounded
    ]
