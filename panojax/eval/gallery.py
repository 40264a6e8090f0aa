"""Sheets that show what a model makes: its samples, the heads between them, and heads of portraits beside the truth.

Each sheet is a picture in bytes [H, W, 3]. Nothing is chosen by eye: seeds and heads are the first ones, or the worst.
"""

from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

import panojax
from panojax.commands.arguments import turn, view_grid
from panojax.commands.generate import latent
from panojax.commands.portrait import ASTRONAUT, align_photo
from panojax.commands.results import at_size, thumbnail
from panojax.eval.figures import views_sheet
from panojax.eval.reconstruction import one_of_each
from panojax.eval.samples import Sample
from panojax.export.turntable import render_views
from panojax.files.output import contact_sheet
from panojax.generators.generator import Head
from panojax.params import Params

SIDE = 128
"""Of a picture in a sheet, at most."""
_invert = jax.jit(panojax.invert)
_generate = jax.jit(panojax.generate)
_interpolate = jax.jit(panojax.interpolate)


def samples_sheet(params: Params, seeds: Sequence[int], *, truncation: float = 0.7, side: int = 96) -> np.ndarray:
    """Eight views around the head of each seed, two seeds a line."""
    titles, cameras = turn(8, 0.0, params.config.generator)
    pictures, names = [], []
    for i, seed in enumerate(tqdm(seeds, desc="samples", unit="head", disable=None)):
        pictures += _views(params, sample(params, seed, truncation), cameras, side)
        names += [f"seed {seed}", *(titles[1:] if i < 2 else [""] * 7)]
    return contact_sheet(pictures, names, columns=16)


def truncation_sheet(params: Params, seeds: Sequence[int], psi: Sequence[float], *, yaw: float = 20.0) -> np.ndarray:
    """A line for each seed: its head from the mean one, psi 0, to its own, psi 1."""
    _, cameras = view_grid((yaw,), (0.0,), params.config.generator)
    pictures = [
        view
        for seed in tqdm(seeds, desc="truncation", unit="head", disable=None)
        for share in psi
        for view in _views(params, sample(params, seed, share), cameras, SIDE)
    ]
    titles = [f"psi {share:g}" for share in psi] + [""] * (len(pictures) - len(psi))
    return contact_sheet(pictures, titles, columns=len(psi))


def interpolation_sheet(
    params: Params, first: int, second: int, shares: Sequence[float], *, yaws: Sequence[float] = (0.0, 45.0, 180.0)
) -> np.ndarray:
    """The heads between two seeds', a line for each yaw in degrees."""
    model = params.generator_only()
    _, cameras = view_grid(yaws, (0.0,), params.config.generator)
    ends = [sample(params, seed, 0.7) for seed in (first, second)]
    columns = [
        _views(params, _interpolate(model, *ends, share), cameras, SIDE)
        for share in tqdm(shares, desc="interpolation", unit="head", disable=None)
    ]
    pictures = [picture for row in zip(*columns) for picture in row]
    titles = [f"{share:g}" for share in shares] + [""] * (len(pictures) - len(shares))
    return contact_sheet(pictures, titles, columns=len(shares))


def inversion_sheet(params: Params, samples: Sequence[Sample]) -> np.ndarray:
    """For each head: the true views, and below those of the head that the two encoders make of the portrait."""
    records = []
    for one in tqdm(samples, desc="inversions", unit="head", disable=None):
        portrait, *others = one.load(params.config.generator.image_resolution)
        others = one_of_each(others)
        cameras = np.stack([portrait.camera, *(picture.camera for picture in others)])
        shown = render_views(params, _invert(params, portrait.image, portrait.camera), cameras)
        records.append(
            {
                "shown": np.stack([thumbnail(view, SIDE) for view in shown]),
                "titles": np.array(["0", *(picture.group for picture in others)]),
                "true": np.stack([thumbnail(picture.image, SIDE) for picture in (portrait, *others)]),
            }
        )
    sheet = views_sheet({"dual": records})
    assert sheet is not None
    return sheet


def worst_inverted(params: Params, samples: Sequence[Sample], count: int) -> list[Sample]:
    """The `count` heads whose inversions, seen as the portraits are, differ most from them (L2); the worst first."""

    def error(one: Sample) -> float:
        portrait = one.load(params.config.generator.image_resolution)[0]
        head = _invert(params, portrait.image, portrait.camera)
        (view,) = render_views(params, head, portrait.camera[None])
        return float(np.mean(np.square(view - portrait.image)))

    errors = [error(one) for one in tqdm(samples, desc="failures", unit="head", disable=None)]
    return [samples[i] for i in np.argsort(errors)[::-1][:count]]


def astronaut_sheet(params: Params) -> np.ndarray:
    """The sheet of `panojax invert astronaut`: the photo as it is cropped, its reconstruction, and a turn."""
    crop, camera, head = _of_photo(params, ASTRONAUT)
    titles, cameras = turn(12, 0.0, params.config.generator)
    views = render_views(params, head, np.concatenate([camera[None], cameras]))
    return contact_sheet([crop, *views], ["input", "reconstruction", *titles], columns=7, max_side=192)


def portraits_sheet(params: Params, photos: Sequence[str], *, side: int = 96) -> np.ndarray:
    """Two photos a line: each as it is cropped, and the head that `panojax invert` makes of it from five sides."""
    yaws = (-45.0, 0.0, 45.0, 90.0, 180.0)
    _, cameras = view_grid(yaws, (0.0,), params.config.generator)
    pictures, names = [], []
    for i, photo in enumerate(tqdm(photos, desc="portraits", unit="head", disable=None)):
        crop, _, head = _of_photo(params, photo)
        pictures += [thumbnail(crop, side), *_views(params, head, cameras, side)]
        names += ["photo", *(f"{yaw:.0f}°" for yaw in yaws)] if i < 2 else [""] * (1 + len(yaws))
    return contact_sheet(pictures, names, columns=2 * (1 + len(yaws)))


def turning_frames(params: Params, photos: Sequence[str], *, frames: int = 48, side: int = 224) -> list[np.ndarray]:
    """A turn of the photos' heads beside each other, each below its photo: pictures in bytes [2 side, n side, 3]."""
    _, cameras = turn(frames, 0.0, params.config.generator)
    side = min(side, params.config.generator.image_resolution)
    columns = []
    for photo in tqdm(photos, desc="turning", unit="head", disable=None):
        crop, _, head = _of_photo(params, photo)
        above = thumbnail(crop, side)
        columns.append([np.concatenate([above, view]) for view in _views(params, head, cameras, side)])
    return [np.concatenate(row, axis=1) for row in zip(*columns)]


def _of_photo(params: Params, photo: str) -> tuple[np.ndarray, np.ndarray, Head]:
    """A photo's crop, as large as the model's pictures, its camera and its head."""
    portrait = align_photo(photo, params.config, face="largest")
    crop = at_size(portrait.image, params.config.generator.image_resolution)
    return crop, portrait.camera, _invert(params, portrait.image, portrait.camera)


def sample(params: Params, seed: int, truncation: float) -> Head:
    """The head of a seed, which `panojax generate` gives as well."""
    head: Head = _generate(params, latent(seed, params.config.generator.z_dim), truncation=truncation)
    return head


def _views(params: Params, head: Head, cameras: np.ndarray, side: int) -> list[np.ndarray]:
    return [thumbnail(view, side) for view in render_views(params, head, cameras)]
