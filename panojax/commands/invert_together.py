"""`panojax invert --together`: one head of several photos of a person, or of a video's frames."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from panojax.commands import results
from panojax.commands.invert import (
    Options,
    keep_head,
    load,
    optimise,
    read_portrait,
    request,
    rounded,
    seen_from,
    write_report,
    write_views,
)
from panojax.commands.portrait import Portrait, align_photo
from panojax.data.balance import label_yaw
from panojax.disk.staging import output_folder
from panojax.errors import InputError
from panojax.export.turntable import render_views
from panojax.files.output import contact_sheet
from panojax.files.video_file import is_video, read_frames
from panojax.inversion.doubts import contradictions, identity_network, strangers
from panojax.inversion.refine import Moves, refine_cameras
from panojax.inversion.several import MAX_PHOTOS, most_frontal, sharpness
from panojax.losses.perception import Perception
from panojax.params import Params
from panojax.photo import write_image
from panojax.photo.choice import sharp_frames, spread_over_yaws
from panojax.photo.folder import list_photos
from panojax.terminal.bars import bar
from panojax.terminal.progress import is_quiet, note, quietly, say, step

FROM_VIDEO = 8  # frames of a video that a head is made of, at most


@dataclasses.dataclass(frozen=True)
class Shown:
    """A photo, or a frame of a video, that shows the person: what to call it, and its portrait."""

    name: str
    portrait: Portrait


def invert_together(options: Options) -> None:
    """Makes one head of all photos and writes it to `options.out`.

    Raises:
      InputError: no photo or frame can be used, or cameras are not given for each.
    """
    seconds: dict[str, float] = {}
    photos = photos_of(options)
    with output_folder(options.out, overwrite=options.overwrite) as folder:
        model = load(options, seconds)
        config = model.params.config.generator
        shown, left_out = read_all(options, photos, model.params.config, seconds)
        shown = _without_repeats(shown)
        shown = _sharpest(shown, MAX_PHOTOS, "photo")
        images = [one.portrait.image for one in shown]
        if len({len(image) for image in images}) > 1:
            images = [results.at_size(image, config.image_resolution) for image in images]
        cameras = np.stack([one.portrait.camera for one in shown])
        names = [one.name for one in shown]
        warnings: list[str] = []
        perception = identity_network(missing=note) if len(shown) > 1 else None
        if perception is not None:
            warnings += strangers(perception, names, np.stack(images), cameras)
        moves = None
        if len(shown) > 1 and options.refine and model.params.config.encoder is not None:
            cameras, moves = _refine(model.params, images, cameras, perception or Perception(), seconds)
            warnings += contradictions(names, moves)
        for warning in warnings:
            note(warning)
        with step("inverting", seconds):
            params, head = _invert(options, model, images, cameras)
            keep_head(options, params, head, folder)
        with step("rendering the photos' views", seconds):
            views = list(render_views(params, head, cameras))
            titles = [text for one in shown for text in (one.name[-24:], "its view")]
            pairs = [picture for pair in zip(images, views) for picture in pair]
            write_image(folder / "photos.png", contact_sheet(pairs, titles, columns=min(8, len(pairs))))
        frontal = int(most_frontal(cameras, np.ones(len(shown))))
        portrait = dataclasses.replace(shown[frontal].portrait, image=images[frontal], camera=cameras[frontal])
        write_image(folder / "input.png", portrait.image)
        mesh = write_views(options, params, head, portrait, folder, seconds)
        own = {
            "photos": _photo_reports(shown, cameras, moves),
            "left_out": left_out,
            "warnings": warnings,
            "request": [request(options, photo) for photo in photos],
            "camera": rounded(portrait.camera),
            "frontal": shown[frontal].name,
            "mesh": mesh,
            "seconds": seconds,
        }
        report = write_report(options, params, folder, own)
    print(f"{options.out}: one head of {len(shown)} photos, {len(left_out)} left out: {', '.join(report['files'])}")


def photos_of(options: Options) -> list[str]:
    """The photos and videos, folders opened, once each; InputError where the cameras given cannot be theirs."""
    photos = list(dict.fromkeys(list_photos(options.photo)))
    crops = options.aligned or options.camera is not None
    if crops and (videos := [photo for photo in photos if is_video(photo)]):
        raise InputError(f"camera and aligned go with pictures that are crops already, got the video {videos[0]!r}")
    if crops and len(photos) > 1 and not str(options.camera).lower().endswith(".json"):
        given = "none" if options.camera is None else f"{options.camera!r:.60}"
        raise InputError(
            f"camera must be a .json file with a label for each of {len(photos)} aligned photos together, got {given}"
        )
    return photos


def read_all(
    options: Options, photos: Sequence[str], config: Any, seconds: dict[str, float]
) -> tuple[list[Shown], dict[str, str]]:
    """The portraits of photos and videos, and the reasons why others are left out, by their names.

    Raises:
      InputError: none is left.
    """
    shown: list[Shown] = []
    left_out: dict[str, str] = {}
    with step("reading the photos", seconds), quietly():
        for photo in bar(photos, desc="photos", unit="photo", hidden=is_quiet() and len(photos) < 3):
            name = pathlib.Path(photo).name
            try:
                if is_video(photo):
                    shown += _from_video(photo, options, config)
                else:
                    shown.append(Shown(name, read_portrait(photo, options, config, {})))
            except InputError as error:
                # Names, not paths: reports are passed on.
                left_out[name if name not in left_out else f"{name} ({len(left_out) + 1})"] = str(error)
    for name, reason in left_out.items():
        note(f"{name} was left out: {reason}")
    if not shown:
        raise InputError(f"photo must show a person's face, none of {len(photos)} could be used: {reason_of(left_out)}")
    for one in shown:
        for warning in one.portrait.report.warnings if one.portrait.report else ():
            note(f"{one.name}: {warning}")
    return shown, left_out


def reason_of(left_out: dict[str, str]) -> str:
    """The first photo and why it was left out."""
    return next((f"{name}: {reason}" for name, reason in left_out.items()), "there was none")


def _from_video(path: str, options: Options, config: Any) -> list[Shown]:
    """Sharp frames of a video over the widest range of yaws."""
    frames = sharp_frames(read_frames(path))
    found = []
    for seconds, frame in bar(frames, desc=pathlib.Path(path).name, unit="frame"):
        try:
            portrait = align_photo(frame, config, face=options.face, framing=options.framing)
        except InputError:
            continue
        found.append(Shown(f"{pathlib.Path(path).name} at {seconds:.2f} s", portrait))
    if not found:
        raise InputError(f"video must show a face plainly, got none in {len(frames)} of its frames")
    return _sharpest(found, FROM_VIDEO, None)


def _sharpest(shown: list[Shown], most: int, what: str | None) -> list[Shown]:
    """All of them, or where there are more than `most` (or frames, `what` None) the sharpest over all yaws."""
    if what is not None and len(shown) <= most:
        return shown
    images = np.stack([results.at_size(one.portrait.image, 128) for one in shown])
    yaws = np.degrees(label_yaw(np.stack([one.portrait.camera for one in shown]))).tolist()
    sharp = np.asarray(sharpness(images)).tolist()
    chosen = spread_over_yaws(yaws, sharp, most)
    if what is not None:  # few yaws need not mean few photos
        rest = sorted(set(range(len(shown))) - set(chosen), key=lambda i: -sharp[i])
        chosen = sorted([*chosen, *rest[: most - len(chosen)]])
        note(f"{what}: {len(shown)} are more than {most}, taken are the {len(chosen)} sharpest over all yaws")
    return [shown[i] for i in chosen]


def _without_repeats(shown: list[Shown]) -> list[Shown]:
    """Without pictures that are another's, to the pixel: they would count twice."""
    kept: dict[bytes, Shown] = {}
    for one in shown:
        key = one.portrait.image.tobytes()
        if key in kept:
            note(f"photo {one.name} is the same picture as {kept[key].name} and counts once")
        kept.setdefault(key, one)
    return list(kept.values())


def _refine(
    params: Params, images: Sequence[np.ndarray], cameras: np.ndarray, perception: Perception, seconds: dict[str, float]
) -> tuple[np.ndarray, Moves]:
    with (
        step("refining the cameras", seconds),
        bar(total=len(images), desc="cameras", unit="camera", hidden=is_quiet()) as shown,
    ):
        moved, moves = refine_cameras(params, np.stack(images), cameras, perception=perception, progress=shown.update)
    degrees, percent = (", ".join(f"{value:.1f}" for value in np.asarray(x)) for x in (moves.degrees, moves.percent))
    say(f"cameras moved by {degrees} degrees and {percent} percent")
    return np.asarray(moved), moves


def _invert(options: Options, model: Any, images: Sequence[np.ndarray], cameras: np.ndarray) -> tuple[Any, Any]:
    """The model that renders the head, and the head."""
    import jax

    import panojax

    if options.method == "encoders":
        head = panojax.invert_many(model.params, np.stack(images), cameras, stitching=options.stitching)
        return model.params, jax.block_until_ready(head)
    params = model.params.generator_only()
    return optimise(options, model.perception, params, np.stack(images), cameras, together=True)


def _photo_reports(shown: Sequence[Shown], cameras: np.ndarray, moves: Moves | None) -> list[dict[str, Any]]:
    found = []
    for i, one in enumerate(shown):
        entry = {"photo": one.name, **seen_from(dataclasses.replace(one.portrait, camera=cameras[i]))}
        if moves is not None:
            entry |= {
                "moved_degrees": round(float(moves.degrees[i]), 3),
                "moved_percent": round(float(moves.percent[i]), 3),
                "at_its_bound": bool(moves.bounded[i]),
                "difference": {"before": round(float(moves.before[i]), 5), "after": round(float(moves.after[i]), 5)},
            }
        found.append(entry)
    return found
