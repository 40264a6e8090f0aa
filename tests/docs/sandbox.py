"""What the pages' commands read: photos, heads, masks, directions, models and folders of pictures, all small."""

import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).parents[2]


def make_sandbox(folder: pathlib.Path) -> None:
    """Fills a new folder."""
    import jax
    import numpy as np
    import skimage.data
    from folders_of_pictures import make_folder, make_heads
    from PIL import Image

    import panojax
    from panojax.commands.generate import latent
    from panojax.files.checkpoint import DEFAULT_FOLDER

    for name in ("photos", "raw/photos", "raw/celeba_hq", "panojax"):
        (folder / name).mkdir(parents=True)
    photo = Image.fromarray(skimage.data.astronaut())
    for name in ("photo.jpg", "portrait.jpg", "photos/a.jpg", "raw/photos/a.jpg", "raw/celeba_hq/a.jpg"):
        photo.save(folder / name)
    params = panojax.load()
    generate = jax.jit(panojax.generate)
    for seed, name in enumerate(("me", "friend", "head", "other")):
        head = generate(params, latent(seed, params.config.generator.z_dim))
        panojax.save_head(head, folder / f"{name}.npz", params=params)
    for name, box in (("a.png", (70, 40, 190, 120)), ("b.png", (60, 40, 200, 140)), ("hair.png", (70, 40, 190, 110))):
        mask = np.zeros((256, 256), np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 255
        Image.fromarray(mask).save(folder / name)
    shutil.copy(DEFAULT_FOLDER / "directions.npz", folder / "directions.npz")
    for name in ("model", "panohead", "panojax/default_model"):
        shutil.copytree(DEFAULT_FOLDER, folder / name, copy_function=_link)
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
    make_heads(folder / "HEADS", numbers=tuple(range(32)), side=256)
    for name in ("heads", "raw/heads"):
        shutil.copytree(folder / "HEADS", folder / name, copy_function=_link)


def _make_codes(path: pathlib.Path, params) -> None:
    import numpy as np

    random, config = np.random.default_rng(0), params.config.generator
    ws = random.normal(size=(64, config.num_ws, config.w_dim)).astype(np.float32)
    np.savez(path, ws=ws, age=ws[:, 0, 0].astype(np.float32))


def _link(source: str, target: str) -> None:
    """A second name for a file, or a copy where the file is on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
