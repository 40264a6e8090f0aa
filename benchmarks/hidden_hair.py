"""Colours of hair that a portrait sees and of hair that it hides, in heads made from drawn portraits, and in truth.

    python benchmarks/hidden_hair.py HEADS --checkpoint default
    python benchmarks/hidden_hair.py --samples 32 --checkpoint default

The portrait is a drawn head's view nearest the front, the hidden side its view nearest the back. Where the truth is
hair and the head is opaque: L of CIELAB of both, and CIE76 between both; medians of fair and of dark hair. With
`--samples` instead: L of the upper part of the generator's own heads from behind, of one latent for all layers and of
one for each, which is what a critic takes for real.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from skimage.color import rgb2lab

import panojax
from panojax.data.balance import label_yaw
from panojax.data.drawn import SampleConfig, draw_heads
from panojax.generators.generator import render_heads
from panojax.inversion.pipeline import invert_batch
from panojax.synthetic.scene import PARTS
from panojax.synthetic.storage import list_identities, read_identity

FAIR = 38.0  # L of seen hair in truth, from which it counts as fair
LEAST = 500  # pixels of hair that both views must have
KINDS = ("truth", "encoder 1", "encoder 2", "stitched, no local branch", "stitched")


def colours_of_head(params: Any, path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """{kind: Lab of seen and of hidden hair [2, 3]} of a drawn head; None where it has too little hair."""
    head = read_identity(path)
    yaws = np.abs(label_yaw(head.labels))
    views = [int(np.argmin(yaws)), int(np.argmax(yaws))]
    rgba = head.rgba[views].astype(np.float32) / 255
    hair = (head.parts[views] == PARTS.index("hair")) & (rgba[..., 3] > 0.98)
    if hair.sum((1, 2)).min() < LEAST:
        return None
    pictures = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    labels = jnp.asarray(head.labels[views], jnp.float32)
    model, image = params.config, jnp.asarray(2 * pictures[:1] - 1)
    whole, parts = _invert(model, params.generator, params.encoders, image, labels[:1])
    found = [parts.visible, parts.occluded, dataclasses.replace(whole, local=None), whole]
    rows = {"truth": np.stack([rgb2lab(x)[where].mean(0) for x, where in zip(pictures, hair)])}
    for kind, one in zip(KINDS[1:], found):
        seen = []
        for place in range(2):
            view = _render(model.generator, params.generator, one, labels[place : place + 1])
            picture = np.clip(np.asarray(view.image[0], np.float32) / 2 + 0.5, 0, 1)
            where = hair[place] & (_as_large(view.weight, len(picture))[0] > 0.95)
            seen.append(rgb2lab(picture)[where].mean(0))
        rows[kind] = np.stack(seen)
    return rows


def table(rows: list[dict[str, np.ndarray]]) -> str:
    """Medians: seen, hidden, CIE76."""
    fair = np.array([row["truth"][0, 0] > FAIR for row in rows], bool)
    sorts = [(name, which) for name, which in (("fair", fair), ("dark", ~fair)) if which.any()]
    heads = [f"{name} hair ({which.sum()}): seen, hidden, CIE76" for name, which in sorts]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (1 + len(sorts)) + "|"]
    for kind in KINDS:
        lab = np.array([row[kind] for row in rows])
        apart = np.linalg.norm(lab[:, 0] - lab[:, 1], axis=1)
        values = lab[:, 0, 0], lab[:, 1, 0], apart
        cells = [", ".join(f"{np.median(x[which]):.1f}" for x in values) for _, which in sorts]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def samples(params: Any, count: int) -> str:
    """Quantiles of L behind."""
    model, behind = params.config.generator, jnp.broadcast_to(panojax.look_at(np.pi), (4, 25))
    lines = []
    for options in (SampleConfig(latent="z"), SampleConfig(latent="z+")):
        values = []
        for seed in range(-(-count // 4)):
            keys = jax.random.split(jax.random.key(seed), 4)
            view = _render(model, params.generator, _draw(model, params.generator, keys, options), behind)
            pictures = np.clip(np.asarray(view.image, np.float32) / 2 + 0.5, 0, 1)
            there = _as_large(view.weight, pictures.shape[1]) > 0.95
            there[:, int(0.45 * pictures.shape[1]) :] = False
            values += [rgb2lab(x)[where][:, 0].mean() for x, where in zip(pictures, there)]
        quantiles = np.quantile(values[:count], [0.1, 0.5, 0.9]).round(1)
        lines.append(f"{options.latent}: mean {np.mean(values[:count]):.1f}, quantiles 0.1, 0.5, 0.9 {quantiles}")
    return "\n".join(lines)


_invert = jax.jit(invert_batch, static_argnums=0)
_render = jax.jit(render_heads, static_argnums=0)
_draw = jax.jit(draw_heads, static_argnums=(0, 3))


def _as_large(weight, side):
    """Opacities [N, R, R, 1] as [N, side, side]."""
    times = side // weight.shape[1]
    return np.repeat(np.repeat(np.asarray(weight)[..., 0], times, 1), times, 2)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", nargs="?", help="folder of `panojax heads`")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--limit", type=int, default=100, help="heads at most")
    parser.add_argument("--samples", type=int, default=0)
    options = parser.parse_args()
    params = panojax.load(options.checkpoint)
    if options.samples:
        print(samples(params, options.samples))
    if options.heads:
        paths = list_identities(options.heads)[: options.limit]
        rows = [row for path in paths if (row := colours_of_head(params, path)) is not None]
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
