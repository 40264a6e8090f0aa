"""From an identity's shape parameters to the vertices of its body, in MakeHuman's units (decimetres)."""

from functools import cache
from pathlib import Path

import numpy as np

from panojax.synthetic.identity import Shape
from panojax.synthetic.meshes import Body, Floats, Ints, parse_obj, read_target

MACRO = "targets/macrodetails"


@cache
def read_body(assets: Path) -> Body:
    """The base mesh of an assets folder; read once per process."""
    return parse_obj((assets / "base.obj").read_text(errors="replace"))


@cache
def _target(path: Path) -> tuple[Ints, Floats]:
    return read_target(path)


def age_weights(years: float) -> dict[str, float]:
    """MakeHuman's ages are anchors at 10 (child), 25 (young) and 90 (old) years; between them weights are linear."""
    years = float(np.clip(years, 10, 90))
    if years < 25:
        return {"child": (25 - years) / 15, "young": (years - 10) / 15}
    return {"young": (90 - years) / 65, "old": (years - 25) / 65}


def _thirds(value: float, what: str) -> dict[str, float]:
    low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
    return {f"min{what}": low, f"average{what}": 1 - low - high, f"max{what}": high}


def macro_weights(shape: Shape) -> dict[str, float]:
    """Weights of the macro targets (paths below the assets folder): sex x age x ancestry, and sex x age x muscle x
    weight.
    """
    weights: dict[str, float] = {}
    for sex, sex_share in (("female", 1 - shape.male), ("male", shape.male)):
        for age, age_share in age_weights(shape.age).items():
            share = sex_share * age_share
            for ancestry, ancestry_share in shape.ancestry.items():
                weights[f"{MACRO}/{ancestry}-{sex}-{age}.target.gz"] = share * ancestry_share
            for muscle, muscle_share in _thirds(shape.muscle, "muscle").items():
                for weight, weight_share in _thirds(shape.weight, "weight").items():
                    name = f"universal-{sex}-{age}-{muscle}-{weight}"
                    weights[f"{MACRO}/{name}.target.gz"] = share * muscle_share * weight_share
    return {path: weight for path, weight in weights.items() if weight > 1e-4}


def target_weights(shape: Shape) -> tuple[dict[str, float], dict[str, float]]:
    """Weights of all targets by path below the assets folder: of the quiet face, then of the expression alone."""
    details = {f"targets/{name}.target.gz": weight for name, weight in shape.details.items()}
    expression = {f"faceunits/{unit}.target": weight for unit, weight in shape.expression.items()}
    return macro_weights(shape) | details, expression


def add_targets(assets: Path, positions: Floats, weights: dict[str, float]) -> Floats:
    """`positions` (vertices, 3) moved by the weighted targets, added in order."""
    moved = positions.copy()
    for path, weight in weights.items():
        vertices, moves = _target(assets / path)
        moved[vertices] += np.float32(weight) * moves
    return moved


def body_positions(assets: Path, shape: Shape) -> tuple[Floats, Floats]:
    """Vertices (19158, 3) of the quiet and of the expressive body.

    The quiet one gives the frame: it does not follow the jaw.
    """
    quiet, expression = target_weights(shape)
    neutral = add_targets(assets, read_body(assets).positions, quiet)
    return neutral, add_targets(assets, neutral, expression)
