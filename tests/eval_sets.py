"""Tiny synthetic heads, laid out as each real set, and networks that measure what can be worked out by hand."""

import csv
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from micro import micro_generator
from PIL import Image

from panojax.config import Config
from panojax.encoders.encoder_config import light
from panojax.eval.feature_networks import Network, Networks
from panojax.inversion.spaces import fit_encoder
from panojax.params import Params, random_params
from panojax.photo.detect import Face
from panojax.synthetic import storage
from panojax.synthetic.cameras import camera_label
from panojax.synthetic.render import DEPTH_STEPS, View

SIDE = 32
YAWS = (0, 28, -62, 90, 180, 76)  # the last is within 10 degrees of no group
NUMBERS = (3, 26, 30)


def micro_model(seed: int = 0) -> Params:
    """The micro generator with encoders, filled at random."""
    generator = micro_generator().config.generator
    encoder = light(resolution=32, widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), head_width=16)
    return random_params(Config(generator, fit_encoder(generator, encoder, "w+")), seed)


def blank_model() -> Params:
    """The same with zeros for parameters: its pictures are zero everywhere, from every camera."""
    return jax.tree.map(jnp.zeros_like, micro_model())


def write_heads(folder: pathlib.Path, numbers=NUMBERS, yaws=YAWS) -> pathlib.Path:
    """A finished set of heads: discs of a colour of their own, the surface 2.5 away, all in the test split."""
    settings = {"version": 1, "seed": 0, "views": len(yaws), "size": SIDE, "assets": "none"}
    storage.claim_folder(folder, settings)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = np.hypot(rows - SIDE / 2, columns - SIDE / 2) < 0.4 * SIDE
    for number in numbers:
        views = []
        for i in range(len(yaws)):
            rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
            rgba[..., :3] = (7 * number % 211, 20 * i, 100 + 5 * i)
            rgba[..., 3] = 255 * inside
            depth = np.where(inside, round(2.5 * DEPTH_STEPS), 0).astype(np.uint16)
            views.append(View(rgba, depth, inside.astype(np.uint8)))
        labels = np.stack([camera_label(math.radians(yaw), 0.0) for yaw in yaws])
        storage.write_identity(storage.identity_path(folder, number), {"split": "test"}, labels, views)
    storage.write_index(folder)
    return folder


def on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return np.where(rgba[..., 3:] > 127, rgba[..., :3], np.uint8(255))


def as_portraits(heads: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The heads' first views as EG3D's layout."""
    folder.mkdir()
    labels = []
    for path in storage.list_identities(heads):
        views = storage.read_identity(path)
        Image.fromarray(on_white(views.rgba[0])).save(folder / f"{path.stem}.png")
        labels.append([f"{path.stem}.png", views.labels[0].tolist()])
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def as_mead(heads: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The heads' first three views as MEAD's manifest: from the front, 30 and 60 degrees."""
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["subject", "camera", "frame", "path"])
        for path in storage.list_identities(heads):
            views = storage.read_identity(path)
            for view, rgba in zip(("front", "left_30", "right_60"), views.rgba):
                name = f"{path.stem}_{view}.png"
                Image.fromarray(on_white(rgba)).save(folder / name)
                rows.writerow([path.stem, view, "0001", name])
    return folder / "manifest.csv"


def _distance(variables, image, target):
    return jnp.mean(jnp.abs(image - target), axis=(1, 2, 3))


def _colour(variables, image):
    """(1, mean of all values): the cosine of a zero picture and one of mean m is 1 / sqrt(1 + m^2)."""
    return jnp.stack([jnp.ones(len(image)), jnp.mean(image, axis=(1, 2, 3))], axis=-1)


def _features(variables, image):
    means = jnp.mean(image, axis=(1, 2))
    return {"features": means, "logits": jnp.concatenate([means, means], axis=-1)}


def _all_person(variables, image):
    return jnp.ones(image.shape[:3])


def one_face(image: np.ndarray) -> list[Face]:
    """A face on any picture but those that are greener than red."""
    if image[..., 1].mean() > image[..., 0].mean():
        return []
    eyes_nose_mouth = np.array([[10, 12], [22, 12], [16, 18], [12, 24], [20, 24]], float)
    return [Face((8, 8, 16, 18), eyes_nose_mouth, 0.9)]


def hand_networks() -> Networks:
    """Networks of a few sums."""
    return Networks(
        lpips=Network("mean difference", _distance, {}),
        identity=Network("colour", _colour, {}),
        aligned=Network("colour", _colour, {}),
        features=Network("mean colour", _features, {}),
        segmenter=Network("everything", _all_person, {}),
        detect=one_face,
    )
