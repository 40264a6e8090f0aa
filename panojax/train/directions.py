"""Learn directions in the space of style codes from labelled codes.

python -m panojax.train.directions --checkpoint model --heads heads --out directions.npz
python -m panojax.train.directions --checkpoint model --samples 2000 --out directions.npz
python -m panojax.train.directions --checkpoint model --codes labelled.npz --out directions.npz
python -m panojax.train.directions --checkpoint model --pairs 100 --keep directions.npz --out aged.npz

Codes are those of the synthetic heads as the checkpoint's encoder sees them, labelled with what they were made from; of
samples of the generator, labelled by what the part segmenter finds in their pictures; or in a file of your own: "ws"
[N, L, w_dim] and an array [N] for each attribute, NaN where it is not known. Pairs are synthetic heads drawn for it,
young and old and alike in all else: their mean difference is the direction of age, and nothing that goes with age among
people, such as white hair and dark clothes, is in it. Directions are scored on codes that they
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
from panojax.editing.directions import Direction, agreement, fit_direction, read_directions, save_directions
from panojax.editing.parts import PARTS, segment
from panojax.encoders import dual
from panojax.encoders.encoder import encode_styles
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.files.array_file import read_npz
from panojax.files.checkpoint import DEFAULT, load
from panojax.nn.stylegan2 import pool
from panojax.params import Params
from panojax.synthetic.assets import open_assets
from panojax.synthetic.pairs import draw_pairs
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
    pairs: int | None = None
    """How many synthetic heads to draw young and old, for the direction of age; needs the assets of `panojax heads`."""
    keep: pathlib.Path | None = None
    """File of directions that are taken along; those learned now replace its own of the same names."""
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
        sources = [name for name in ("heads", "samples", "codes", "pairs") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise InputError(
                f"codes must come from one of --heads, --samples, --codes and --pairs, got {sources or 'none'}"
            )
        if self.samples is not None and self.samples < 2 * HELD_OUT:
            raise InputError(f"samples must be at least {2 * HELD_OUT}, got {self.samples}")
        if self.pairs is not None and self.pairs < HELD_OUT:
            raise InputError(f"pairs must be at least {HELD_OUT}, got {self.pairs}")
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


class Encoder:
    """The visible encoder of a model, for pictures of synthetic heads: they are put on white."""

    def __init__(self, params: Params):
        encoder, config = params.encoders, params.config.encoder
        if encoder is None or not isinstance(config, EncoderConfig):
            raise InputError("checkpoint must hold two encoders to encode heads, got a generator alone: use --samples")
        variables, average = dual.part(encoder["both"], dual.VISIBLE), encoder["latent_average"]
        styles = jax.jit(lambda variables, images: encode_styles(config, variables, pool(images, config.resolution)))
        self._encode = lambda images: styles(variables, images).astype(jnp.float32) + average
        self._waiting: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []

    def add(self, rgba: np.ndarray) -> None:
        """Takes a picture uint8 [S, S, 4]; batches of them are encoded together."""
        alpha = rgba[..., 3:] / np.float32(255)
        self._waiting.append((rgba[..., :3] * alpha / 127.5 - 1) + 2 * (1 - alpha))
        if len(self._waiting) == BATCH:
            self._flush()

    def codes(self) -> np.ndarray:
        """[N, L, w_dim] of all pictures, in their order; none is [0]."""
        if self._waiting:
            self._flush()
        return np.concatenate(self._codes) if self._codes else np.zeros(0, np.float32)

    def _flush(self) -> None:
        count = len(self._waiting)
        batch = np.stack(self._waiting + self._waiting[-1:] * (BATCH - count))
        self._codes.append(np.asarray(self._encode(jnp.asarray(batch)))[:count])
        self._waiting.clear()


def encode_heads(params: Params, folder: pathlib.Path, splits: tuple[str, ...], views: int) -> Labelled:
    """Codes of the visible encoder of synthetic heads on white, seen about from the front, and their attributes."""
    encoder = Encoder(params)
    rows: list[dict[str, float]] = []
    for path in tqdm(list_identities(folder), desc="encoding", unit="head", disable=None, leave=False):
        parameters, labels = read_parameters(path)
        if parameters["split"] not in splits:
            continue
        attributes = head_attributes(parameters)
        front_first = np.argsort(np.abs(label_yaw(labels)))
        for rgba in read_identity(path, front_first[:views].tolist()).rgba:
            encoder.add(rgba)
            rows.append(attributes)
    if not rows:
        raise InputError(f"heads must hold identities of the splits {', '.join(splits)}, got {folder} without any")
    return encoder.codes(), {name: np.array([row[name] for row in rows]) for name in HEAD_ATTRIBUTES}


def encode_pairs(params: Params, count: int, *, seed: int, views: int) -> np.ndarray:
    """Codes [N, 2, V, L, w_dim] of synthetic heads, young and old, from V cameras about the front."""
    encoder = Encoder(params)
    drawn = draw_pairs(open_assets(), range(count), seed=seed, views=views)
    for _, young, old in tqdm(drawn, total=count, desc="drawing", unit="pair", disable=None, leave=False):
        for view in (*young, *old):
            encoder.add(view.rgba)
    codes = encoder.codes()
    return codes.reshape(count, 2, views, *codes.shape[1:])


def fit_pairs(codes: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, float]]]:
    """The direction [L, w_dim] of age of pairs' codes [N, 2, V, L, w_dim], and how it orders every tenth pair.

    It is half of the mean difference of the others, so that a strength of 2 is what 47 years do, less its first quarter
    of codes: these place and shape what is coarse, shoulders and hair among it.
    """
    held = np.arange(len(codes)) % HELD_OUT == 0
    vector = (codes[~held, 1] - codes[~held, 0]).mean((0, 1)) / 2
    vector[: len(vector) // 4] = 0
    scored = codes[held].reshape(-1, *vector.shape)
    labels = np.broadcast_to(np.array([False, True])[:, None], codes[held].shape[:3]).reshape(-1)
    direction = Direction(vector.astype(np.float32), classes=True)
    return {"age": direction.vector}, {"age": (ROC, agreement(direction, scored, labels))}


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
        kept = {} if config.keep is None else read_directions(config.keep, params)
        if config.pairs is not None:
            codes = encode_pairs(params, config.pairs, seed=config.seed, views=config.views)
            counts = [part * 2 * config.views for part in (len(codes) - len(codes[::HELD_OUT]), len(codes[::HELD_OUT]))]
            directions, scores = fit_pairs(codes)
        else:
            learned, scored = collect(config, params)
            counts = [len(learned[0]), len(scored[0])]
            directions, scores = fit_directions(learned, scored, penalty=config.penalty)
        poor = [name for name, (measure, value) in scores.items() if not skill(measure, value) >= config.least]
        if len(poor) == len(directions):
            raise InputError(f"least must be below the best direction's score, got {config.least}: {scores}")
        directions = kept | {name: vector for name, vector in directions.items() if name not in poor}
        save_directions(directions, config.out, params=params, overwrite=config.overwrite)
        print(f"{config.out}: learned from {counts[0]} codes; on {counts[1]} others:")
        for name, (measure, value) in scores.items():
            print(f"  {name}: {measure} {value:.3f}{', left out' if name in poor else ''}")

    return exit_code(run)


if __name__ == "__main__":
    raise SystemExit(main())
