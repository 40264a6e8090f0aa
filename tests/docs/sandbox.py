"""What the pages' commands read: photos, heads, masks, directions, models and folders of pictures, all small."""

import dataclasses
import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).parents[2]


def make_sandbox(folder: pathlib.Path, *, shipped: bool) -> None:
    """Fills a new folder; "model" is the default one: the one that ships, or a small one."""
    import jax
    import local_model
    import numpy as np
    import skimage.data
    from folders_of_pictures import make_folder, make_heads
    from PIL import Image, ImageOps

    import panojax
    from panojax.commands.generate import latent
    from panojax.editing.directions import save_directions
    from panojax.files.checkpoint import DEFAULT_FOLDER
    from panojax.files.output import write_video
    from panojax.files.packed import write_packed

    for name in ("photos", "raw/photos", "raw/celeba_hq", "panojax", "docs"):
        (folder / name).mkdir(parents=True)
    photo = Image.fromarray(skimage.data.astronaut())
    for name in ("photo.jpg", "portrait.jpg", "photos/a.jpg", "raw/photos/a.jpg", "raw/celeba_hq/a.jpg"):
        photo.save(folder / name)
    photo.save(folder / "front.jpg")
    ImageOps.mirror(photo).save(folder / "left.jpg")
    write_video(folder / "talk.mp4", [np.asarray(photo)] * 8)
    if shipped:
        params = panojax.load()
        shutil.copytree(DEFAULT_FOLDER, folder / "model")
    else:
        made = local_model.params()
        write_packed(
            folder / "model", dataclasses.replace(made.config, framing="heads"), made.generator, made.encoders, about={}
        )
        params = panojax.load(folder / "model")
        codes = (params.config.generator.num_ws, params.config.generator.w_dim)
        moves = {name: np.full(codes, 0.1, np.float32) for name in ("age", "smile")}
        save_directions(moves, folder / "model" / "directions.npz", params=params)
    generate = jax.jit(panojax.generate)
    for seed, name in enumerate(("me", "friend", "head", "other")):
        head = generate(params, latent(seed, params.config.generator.z_dim))
        panojax.save_head(head, folder / f"{name}.npz", params=params)
    side = params.config.generator.image_resolution
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 2] = 255  # the small model has four texels along a side
    for name in ("a.png", "b.png", "hair.png"):
        Image.fromarray(mask).save(folder / name)
    shutil.copy(folder / "model" / "directions.npz", folder / "directions.npz")
    for name in ("panohead", "HEADS256", "panojax/default_model"):
        shutil.copytree(folder / "model", folder / name, copy_function=_link)
    for name in ("easy-khair-180-gpc0.8-trans10-025000.pkl", "network.pkl"):
        shutil.copy(ROOT / "tests" / "golden" / "panohead_mini.pkl", folder / name)
    _make_sets(folder, make_folder, make_heads)
    _make_codes(folder / "labelled.npz", params)


def _make_sets(folder: pathlib.Path, make_folder, make_heads) -> None:
    for name in ("ffhq", "lpff"):
        pictures = make_folder(folder / "raw" / "made")
        shutil.move(pictures, folder / "raw" / name)
        shutil.move(folder / "raw" / "made" / "masks", folder / "raw" / f"{name}_masks")
    for name in ("FFHQ", "LPFF", "K_HAIRSTYLE"):
        shutil.copytree(folder / "raw" / "ffhq", folder / name)
        shutil.copytree(folder / "raw" / "ffhq_masks", folder / name / "masks")
    shutil.copytree(folder / "raw" / "ffhq", folder / "REAL")
    for mask in (folder / "raw" / "ffhq_masks").rglob("img*.png"):  # beside the pictures, as `panojax align` puts them
        place = folder / "REAL" / mask.relative_to(folder / "raw" / "ffhq_masks")
        shutil.copy(mask, place.with_name(place.name.replace("img", "mask")))
    make_heads(folder / "HEADS", numbers=tuple(range(32)), side=256)
    for name in ("heads", "raw/heads"):
        shutil.copytree(folder / "HEADS", folder / name, copy_function=_link)


def _make_codes(path: pathlib.Path, params) -> None:
    import numpy as np

    random, config = np.random.default_rng(0), params.config.generator
    ws = random.normal(size=(64, config.num_ws, config.w_dim)).astype(np.float32)
    np.savez(path, ws=ws, age=ws[:, 0, 0], smile=ws[:, 0, 1])


def _link(source: str, target: str) -> None:
    """A second name for a file, or a copy where the file is on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
