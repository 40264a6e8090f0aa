"""Learn directions in the space of style codes from labelled codes.

python -m panojax.train.directions --checkpoint model --heads heads --out directions.npz
python -m panojax.train.directions --checkpoint model --samples 2000 --out directions.npz
python -m panojax.train.directions --checkpoint model --codes labelled.npz --out directions.npz

Codes are those of the synthetic heads as the checkpoint's encoder sees them, labelled with what they were made from; of
samples of the generator, labelled by what the part segmenter finds in their pictures; or in a file of your own: "ws"
[N, L, w_dim] and an array [N] for each attribute, NaN where it is not known. Directions are scored on codes that they
were not learned from, and `panojax edit` and `panojax view` take the file.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from panojax import api
from panojax.camera import front
from panojax.data.balance import label_yaw
from panojax.disk.reading import read_bytes
from panojax.editing.directions import agreement, fit_direction, save_directions
from panojax.editing.parts import PARTS, segment
from panojax.encoders import dual
from panojax.encoders.encoder import encode_styles
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.files.array_file import read_npz
from panojax.files.checkpoint import DEFAULT, load
from panojax.nn.stylegan2 import pool
from panojax.params import Params
from panojax.synthetic.pictures import LUMINANCE
from panojax.synthetic.storage import list_identities, read_identity, read_parameters
from panojax.train.command import exit_code

Labelled = tuple[np.ndarray, dict[str, np.ndarray]]

BATCH = 8
CORRELATION, ROC = "correlation", "area under the ROC curve"
HELD_OUT = 10  # every tenth code of samples and files scores the directions


@dataclasses.dataclass(frozen=True)
class DirectionsConfig:
    """Where labelled codes come from, and where the directions go."""

    out: pathlib.Path
    """File of the directions, new (.npz)."""
    checkpoint: str = DEFAULT
    """Folder of the model."""
    heads: pathlib.Path | None = None
    """Folder that `panojax heads` filled: learns from its training identities, scores on the others."""
    samples: int | None = None
    """How many heads to draw from the generator."""
    codes: pathlib.Path | None = None
    """File of labelled codes (.npz)."""
    views: int = 2
    """Pictures encoded of each of the heads, those nearest to the front."""
    truncation: float = 0.8
    """Of the samples."""
    penalty: float = 0.01
    """See `fit_direction`."""
    least: float = 0.3
    """Directions whose correlation is below this are left out, or whose area under the ROC curve is not as much better
    than chance (0.65)."""
    seed: int = 0
    """Of the samples."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace the file."""

    def __post_init__(self):
        sources = [name for name in ("heads", "samples", "codes") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise InputError(f"codes must come from one of --heads, --samples and --codes, got {sources or 'none'}")
        if self.samples is not None and self.samples < 2 * HELD_OUT:
            raise InputError(f"samples must be at least {2 * HELD_OUT}, got {self.samples}")
        if self.views < 1:
            raise InputError(f"views must be at least 1, got {self.views}")


# What is read off a synthetic head's parameters: numbers, and classes as booleans.
HEAD_ATTRIBUTES: dict[str, Callable[[dict[str, Any]], float | bool]] = {
    "age": lambda head: head["shape"]["age"],
    "male": lambda head: head["shape"]["male"] > 0.5,
    "weight": lambda head: head["shape"]["weight"],
    "smile": lambda head: head["shape"]["expression"].get("mouthSmileLeft", 0.0),
    "beard": lambda head: head["face"]["beard_length"] > 0,
    "long_hair": lambda head: _has_long_hair(head["hair"]),
    "fair_hair": lambda head: float("nan") if head["hair"]["style"] == "bald" else _brightness(head["hair"]["colour"]),
    "light_clothes": lambda head: _brightness(head["shirt" if "shirt" in head else "clothes"]["colours"][0]),
}
LONG_HAIR = 100.0  # mm behind, of the second edition; the first's is any that is combed


def head_attributes(parameters: dict[str, Any]) -> dict[str, float]:
    """The attributes of a synthetic head's parameters, of either edition; NaN for those that these do not tell."""
    found = {}
    for name, read in HEAD_ATTRIBUTES.items():
        try:
            found[name] = float(read(parameters))
        except (KeyError, IndexError, TypeError, ValueError):
            found[name] = float("nan")
    return found


def _has_long_hair(hair: dict[str, Any]) -> bool:
    if hair["style"] == "bald" or "form" not in hair:
        return hair["style"] not in ("fur", "bald")
    return bool(hair["form"]["back"] >= LONG_HAIR)


def _brightness(colour: Any) -> float:
    """Lightness in [0, 1] of a linear colour."""
    return float(LUMINANCE @ np.asarray(colour)) ** (1 / 2.2)


def picture_attributes(image: np.ndarray) -> dict[str, float]:
    """What the part segmenter finds in a front view [S, S, 3] in [-1, 1]: shares of the head, and lightnesses."""
    chances = segment(image)
    area = dict(zip(PARTS, chances.sum((0, 1))))
    head = sum(area[name] for name in ("skin", "hair", "eyes"))
    light = (np.clip(image, -1, 1).mean(-1) + 1) / 2
    found = {"hair": float(area["hair"] / head)}
    for name, part in (("fair_hair", "hair"), ("fair_skin", "skin"), ("light_clothes", "clothes")):
        inside = chances[..., PARTS.index(part)]
        # Of parts under a hundredth of the picture no colour is told.
        found[name] = float((light * inside).sum() / inside.sum()) if inside.mean() > 0.01 else float("nan")
    return found


def encode_heads(params: Params, folder: pathlib.Path, splits: tuple[str, ...], views: int) -> Labelled:
    """Codes of the visible encoder of synthetic heads on white, seen about from the front, and their attributes."""
    encoder, config = params.encoders, params.config.encoder
    if encoder is None or not isinstance(config, EncoderConfig):
        raise InputError("checkpoint must hold two encoders to encode heads, got a generator alone: use --samples")
    variables = dual.part(encoder["both"], dual.VISIBLE)
    styles = jax.jit(lambda variables, images: encode_styles(config, variables, pool(images, config.resolution)))
    pictures: list[np.ndarray] = []
    rows: list[dict[str, float]] = []
    codes: list[np.ndarray] = []

    def flush() -> None:
        count = len(pictures)
        batch = np.stack(pictures + pictures[-1:] * (BATCH - count))
        found = styles(variables, jnp.asarray(batch)).astype(jnp.float32) + encoder["latent_average"]
        codes.append(np.asarray(found)[:count])
        pictures.clear()

    for path in tqdm(list_identities(folder), desc="encoding", unit="head", disable=None, leave=False):
        parameters, labels = read_parameters(path)
        if parameters["split"] not in splits:
            continue
        attributes = head_attributes(parameters)
        front_first = np.argsort(np.abs(label_yaw(labels)))
        for rgba in read_identity(path, front_first[:views].tolist()).rgba:
            alpha = rgba[..., 3:] / np.float32(255)
            pictures.append((rgba[..., :3] * alpha / 127.5 - 1) + 2 * (1 - alpha))
            rows.append(attributes)
            if len(pictures) == BATCH:
                flush()
    if pictures:
        flush()
    if not codes:
        raise InputError(f"heads must hold identities of the splits {', '.join(splits)}, got {folder} without any")
    return np.concatenate(codes), {name: np.array([row[name] for row in rows]) for name in HEAD_ATTRIBUTES}


def draw_labelled(params: Params, count: int, *, truncation: float, seed: int) -> Labelled:
    """Codes of samples of the generator, labelled by `picture_attributes` of their front views."""
    z_dim = params.config.generator.z_dim
    latents = np.random.default_rng(seed).standard_normal((count, z_dim), np.float32)

    @jax.jit
    def draw(params, z):
        head = api.generate(params, z, truncation=truncation)
        return head.ws, api.render(params, head, front()).image

    codes, rows = [], []
    for z in tqdm(latents, desc="drawing", unit="head", disable=None, leave=False):
        ws, image = jax.device_get(draw(params.generator_only(), z))
        codes.append(ws)
        rows.append(picture_attributes(image))
    return np.stack(codes), {name: np.array([row[name] for row in rows]) for name in rows[0]}


def read_labelled(path: pathlib.Path) -> Labelled:
    """Codes and labels of a file, see the module's docstring."""
    try:
        arrays = read_npz(read_bytes(path, limit=2**32), limit=2**32)
    except InputError as error:
        raise InputError(f"codes must be an .npz file, got {str(path)!r}: {error}") from error
    ws = arrays.pop("ws", None)
    if ws is None or ws.ndim != 3 or not arrays:
        others = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(f'codes must hold "ws" [N, L, w_dim] and labels, got {path} with {others}')
    for name, labels in arrays.items():
        if labels.shape != ws.shape[:1]:
            raise InputError(f"labels must be [{len(ws)}], one a code, {path} has {name}: {list(labels.shape)}")
    return ws, arrays


def collect(config: DirectionsConfig, params: Params) -> tuple[Labelled, Labelled]:
    """Labelled codes to learn from, and others to score by."""
    if config.heads is not None:
        return tuple(  # type: ignore[return-value]
            encode_heads(params, config.heads, splits, config.views) for splits in (("train",), ("validation", "test"))
        )
    if config.samples is not None:
        codes, labels = draw_labelled(params, config.samples, truncation=config.truncation, seed=config.seed)
    else:
        assert config.codes is not None
        codes, labels = read_labelled(config.codes)
    held = np.arange(len(codes)) % HELD_OUT == 0
    learned, scored = ((codes[some], {name: x[some] for name, x in labels.items()}) for some in (~held, held))
    return learned, scored


def skill(measure: str, value: float) -> float:
    """A score of `fit_directions` so that 0 is chance and 1 the best."""
    return value if measure == CORRELATION else 2 * value - 1


def fit_directions(
    learned: Labelled, scored: Labelled, *, penalty: float
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, float]]]:
    """A direction [L, w_dim] for each attribute, and how it orders the other codes: (measure, value)."""
    directions, scores = {}, {}
    for name, labels in learned[1].items():
        known = np.unique(labels[~np.isnan(labels.astype(np.float64))])
        if len(known) < 2:
            continue  # all alike here, such as beards where nobody has one
        direction = fit_direction(learned[0], labels, penalty=penalty)
        directions[name] = direction.vector
        measure = ROC if direction.classes else CORRELATION
        scores[name] = measure, agreement(direction, scored[0], scored[1][name])
    if not directions:
        raise InputError("labels must differ between heads, got none that do")
    return directions, scores


def main() -> int:
    """Runs the command line; the exit code."""

    def run() -> None:
        import tyro

        config = tyro.cli(DirectionsConfig, prog="python -m panojax.train.directions", description=__doc__)
        if config.out.exists() and not config.overwrite:
            raise InputError(f"out must not exist yet, or --overwrite be given, got {str(config.out)!r}")
        params = load(config.checkpoint, dtype=config.dtype)
        learned, scored = collect(config, params)
        directions, scores = fit_directions(learned, scored, penalty=config.penalty)
        poor = [name for name, (measure, value) in scores.items() if not skill(measure, value) >= config.least]
        if len(poor) == len(directions):
            raise InputError(f"least must be below the best direction's score, got {config.least}: {scores}")
        directions = {name: vector for name, vector in directions.items() if name not in poor}
        save_directions(directions, config.out, params=params, overwrite=config.overwrite)
        print(f"{config.out}: learned from {len(learned[0])} codes; on {len(scored[0])} others:")
        for name, (measure, value) in scores.items():
            print(f"  {name}: {measure} {value:.3f}{', left out' if name in poor else ''}")

    return exit_code(run)


if __name__ == "__main__":
    raise SystemExit(main())
