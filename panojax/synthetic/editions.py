"""Both editions of the synthetic heads by number: what draws a person of either."""

from pathlib import Path
from typing import Any

from panojax.errors import InputError
from panojax.synthetic.edition2 import people
from panojax.synthetic.edition2.render import Renderer
from panojax.synthetic.edition2.sampling import sample_person
from panojax.synthetic.edition2.scene import build_head
from panojax.synthetic.identity import as_json
from panojax.synthetic.render import HeadRenderer
from panojax.synthetic.sampling import sample_identity
from panojax.synthetic.scene import build_scene

EDITIONS = (1, 2)


def check_edition(edition: int) -> None:
    """InputError unless there is such an edition."""
    if edition not in EDITIONS:
        raise InputError(f"edition must be one of {EDITIONS}, got {edition}")


def open_renderer(edition: int, size: int, *, device: int | None = None) -> Any:
    """The renderer of an edition's heads, for pictures of `size` pixels."""
    check_edition(edition)
    return Renderer(size, device=device) if edition == 2 else HeadRenderer(size, device=device)


def draw_person(renderer: Any, assets: Path, seed: int, number: int) -> dict[str, Any]:
    """Loads person `number` of the family `seed`, of the renderer's edition, into it; returns the parameters."""
    if isinstance(renderer, HeadRenderer):
        identity = sample_identity(seed, number)
        renderer.load(build_scene(assets, identity))
        return as_json(identity)
    person = sample_person(seed, number)
    renderer.load(build_head(assets, person))
    return people.as_json(person)
