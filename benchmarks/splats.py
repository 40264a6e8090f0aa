"""Splats against the model's own pictures: PSNR over 36 views that no fit saw, time and size, for some generated heads.

    python benchmarks/splats.py --heads 8 --splats 40000 --steps 1000 --harmonics 0 --out splats.json --sheet splats.png

The pictures are the model's, before its own white; splats are drawn as viewers draw them (`panojax.render.splatting`).
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
import time

import jax
import numpy as np
from PIL import Image

import panojax
from panojax.export import Views, fit_splats, splats_from_surface, surround, take_views, write_splats
from panojax.export.splat_fitting import from_splats
from panojax.export.splats import Splats
from panojax.export.surface import closed_surface
from panojax.render.splatting import splat, tile_capacity


def drawn(splats: Splats, views: Views) -> np.ndarray:
    """Pictures [N, S, S, 3] in [0, 1] of splats before white, from the cameras of views."""
    side, gaussians = views.images.shape[1], from_splats(splats)
    capacity = 2 * tile_capacity(len(splats.centres), side)
    pictures = []
    for label in views.labels.astype(np.float32):
        picture, cover = splat(gaussians, label, side, capacity)
        pictures.append(np.clip(np.asarray(picture + (1 - cover)[..., None]), 0, 1))
    return np.stack(pictures)


def decibels(pictures: np.ndarray, views: Views) -> np.ndarray:
    """PSNR [N] against the views."""
    return -10 * np.log10(((pictures - views.images / 255) ** 2).mean((1, 2, 3)))


def main() -> None:
    """Prints a row for each head, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--splats", type=int, default=40_000)
    parser.add_argument("--views", type=int, default=96)
    parser.add_argument("--mesh-resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--harmonics", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--sheet", type=pathlib.Path, help="picture: each head's splats over the model's")
    options = parser.parse_args()
    params = panojax.load(options.checkpoint).generator_only()
    config = params.config.generator
    train = surround(options.views, (-30.0, 0.0, 30.0), config)
    test = surround(36, (5.0,), config)
    rows, sheet = [], []
    print(f"{jax.devices()[0].device_kind}; surface dB | fitted dB, mean and least of 36 views | s | MB", flush=True)
    for seed in range(options.heads):
        z = jax.random.normal(jax.random.key(seed), (config.z_dim,))
        head = panojax.generate(params, z)
        views, held_out = take_views(params, head, train), take_views(params, head, test)
        mesh = panojax.extract_mesh(params, head, resolution=options.mesh_resolution)
        start = time.perf_counter()
        first = splats_from_surface(closed_surface(mesh.vertices, mesh.faces), views, count=options.splats)
        fitted = fit_splats(first, views, steps=options.steps, degree=min(options.harmonics, 1), progress=True)
        seconds = time.perf_counter() - start
        before, pictures = decibels(drawn(first, held_out), held_out), drawn(fitted, held_out)
        after = decibels(pictures, held_out)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.ply"
            write_splats(fitted, path, degree=options.harmonics)
            size = path.stat().st_size / 1e6
        row = {"surface": before.mean(), "fitted": after.mean(), "least": after.min(), "seconds": seconds, "MB": size}
        rows.append(row)
        print(" | ".join(f"{value:.1f}" for value in row.values()), flush=True)
        if options.out:
            options.out.write_text(json.dumps({**vars(options), "rows": rows}, default=str, indent=1))
        chosen = dataclasses.replace(held_out, images=held_out.images[::6])
        pairs = np.concatenate([np.uint8(255 * pictures[::6]), chosen.images], axis=1)
        sheet.append(np.concatenate(list(pairs), axis=1))
        if options.sheet:
            Image.fromarray(np.concatenate(sheet)).save(options.sheet)
    print("means: " + ", ".join(f"{name} {np.mean([row[name] for row in rows]):.1f}" for name in rows[0]))


if __name__ == "__main__":
    main()
