import itertools
import json
import pickle
import sys

import numpy as np
import pytest

from panojax.data import pictures
from panojax.data.balance import YawBalance, balance_yaw
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.heads_set import HeadsOptions
from panojax.data.pipeline import PipelineConfig, make_batches
from panojax.data.prepare import prepare
from panojax.data.records import open_set
from panojax.errors import InputError

CONFIG = PipelineConfig(batch_size=5, resolution=32, fields=("image", "camera", "mask"), prefetch=3)


def config(**changes):
    return PipelineConfig(**({"batch_size": 5, "resolution": 32, "prefetch": 3} | changes))


@pytest.fixture(scope="session")
def heads(sets, tmp_path_factory):
    root = tmp_path_factory.mktemp("heads")
    return open_set(prepare(HeadsOptions(sets["make_heads"](root / "raw")), root / "sets"))


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(got, wanted):
    assert len(got) == len(wanted) > 0
    for ours, theirs in zip(got, wanted):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def numbers(batches, sets):
    """Numbers of the pictures in float batches."""
    images = np.concatenate([batch["image"] for batch in batches]) * 127.5 + 127.5
    return [sets["picture_number"](image) for image in images]


def test_batches_hold_the_pictures_with_their_masks_and_labels(faces, sets):
    batch = next(make_batches({"faces": faces}, config(fields=("image", "camera", "mask"), mirror=0)))
    assert {n: (v.shape, v.dtype.name) for n, v in batch.items()} == {
        "image": ((5, 32, 32, 3), "float32"),
        "camera": ((5, 25), "float32"),
        "mask": ((5, 32, 32, 1), "float32"),
    }
    for image, mask, camera in zip(batch["image"], batch["mask"], batch["camera"]):
        number = sets["picture_number"](image * 127.5 + 127.5)
        np.testing.assert_allclose(image, sets["picture"](number) / 127.5 - 1, atol=1e-6)
        np.testing.assert_allclose(mask[..., 0], sets["disc"]() / 255, atol=1e-7)
        np.testing.assert_allclose(camera, sets["label"](sets["spread_yaw"](number)), atol=1e-6)
    assert batch["image"].min() >= -1 and batch["image"].max() == 1


def test_bytes_are_the_same_pictures(faces):
    options = {"fields": ("image", "camera", "mask"), "background": (9, 99, 199)}
    floats = next(make_batches({"faces": faces}, config(**options)))
    stored = next(make_batches({"faces": faces}, config(**options, dtype="uint8")))
    assert stored["image"].dtype == stored["mask"].dtype == np.uint8
    np.testing.assert_allclose(floats["image"], stored["image"] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(floats["mask"], stored["mask"] / 255, atol=1e-7)


def test_an_epoch_shows_each_picture_once_and_epochs_differ(faces, sets):
    batches = take(make_batches({"faces": faces}, config(batch_size=8)), 9)
    epochs = [numbers(batches[i : i + 3], sets) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != list(range(24))


def test_order_depends_on_the_seed_alone(faces):
    first = take(make_batches({"faces": faces}, config()), 6)
    assert_same(take(make_batches({"faces": faces}, config(threads=1, prefetch=1)), 6), first)
    other = take(make_batches({"faces": faces}, config(seed=1)), 6)
    assert any(not np.array_equal(a["camera"], b["camera"]) for a, b in zip(first, other))


def test_one_epoch_in_order_with_a_remainder(faces, sets):
    options = {"shuffle": False, "mirror": 0, "epochs": 1}
    whole = list(make_batches({"faces": faces}, config(**options, drop_remainder=False)))
    assert [len(batch["camera"]) for batch in whole] == [5, 5, 5, 5, 4]
    np.testing.assert_array_equal(np.concatenate([b["camera"] for b in whole]), faces.cameras)
    assert [len(batch["camera"]) for batch in make_batches({"faces": faces}, config(**options))] == [5] * 4


@pytest.mark.parametrize("done", [0, 1, 4, 7])
def test_a_restored_iterator_goes_on_with_exactly_the_next_batches(faces, heads, done):
    sources, options = {"faces": faces, "heads": heads}, config(background=(255, 255, 255))
    running = make_batches(sources, options, weights={"faces": 2, "heads": 1})
    take(running, done)
    state = json.loads(json.dumps(running.get_state()))
    wanted = take(running, 8)
    fresh = make_batches(sources, options, weights={"faces": 2, "heads": 1})
    fresh.set_state(state)
    assert_same(take(fresh, 8), wanted)
    running.set_state(state)  # also back in time
    assert_same(take(running, 8), wanted)
    assert fresh.get_state() == running.get_state()


def test_a_state_survives_other_threads_and_files_elsewhere_but_no_other_pipeline(faces, heads, sets, tmp_path):
    running = make_batches({"faces": faces}, config())
    take(running, 3)
    state, wanted = running.get_state(), take(running, 3)
    source = sets["make_folder"](tmp_path / "raw")
    options = FolderOptions(source, "faces", masks=source.parent / "masks", size=32, test_share=0)
    moved = make_batches({"faces": open_set(prepare(options, tmp_path / "sets"))}, config(threads=1, prefetch=1))
    moved.set_state(state)
    assert_same(take(moved, 3), wanted)
    other_speed = config(threads=2, workers=1, cache_gigabytes=0.0)
    make_batches({"faces": faces}, other_speed).set_state(state)
    for other in (
        make_batches({"faces": faces}, config(seed=1)),
        make_batches({"faces": faces}, config(batch_size=6)),
        make_batches({"faces": faces, "heads": heads}, config()),
        make_batches({"faces": balance_yaw(faces)}, config()),
        make_batches({"faces": faces}, config(), process_count=2),
    ):
        with pytest.raises(InputError, match="state must be of a pipeline with these sources"):
            other.set_state(state)
    for nonsense in ({}, None, {"pipeline": 1}):
        with pytest.raises(InputError, match="state must be what get_state returned"):
            running.set_state(nonsense)


def test_mirrored_samples_have_mirrored_labels_and_both_kinds_come(faces, sets):
    mirrored = []
    for batch in take(make_batches({"faces": faces}, config(fields=("image", "camera", "mask"))), 20):
        for image, camera in zip(batch["image"], batch["camera"]):
            number = sets["picture_number"](image * 127.5 + 127.5)
            flipped = image[0, 0, 0] == 1  # the right half is white
            label = np.array(sets["label"](sets["spread_yaw"](number)), np.float32)
            np.testing.assert_array_equal(camera, pictures.mirror_label(label) if flipped else label)
            mirrored.append((number, bool(flipped)))
    assert 0.3 < np.mean([flip for _, flip in mirrored]) < 0.7  # four standard deviations of 100 coins
    assert len({flip for number, flip in mirrored if number == mirrored[0][0]}) == 2  # anew in each epoch
    for batch in take(make_batches({"faces": faces}, config(mirror=0)), 5):
        assert (batch["image"][:, 0, 0] != 1).all()


def test_background_is_composed_by_the_mask(faces, sets):
    colour = (0, 128, 255)
    batch = next(make_batches({"faces": faces}, config(mirror=0, background=colour, dtype="uint8")))
    mask = sets["disc"]()[..., None] / 255
    for image in batch["image"]:
        number = sets["picture_number"](image[12:20, 12:20])  # the middle, which the mask keeps
        wanted = sets["picture"](number) * mask + np.array(colour) * (1 - mask)
        assert np.abs(image - wanted).max() <= 0.5
    assert batch["image"].shape[-1] == 3 and "mask" not in batch


def test_depth_is_resized_without_mixing(heads):
    full, half = (
        next(make_batches({"heads": heads}, config(fields=("image", "camera", "depth"), resolution=side, mirror=0)))
        for side in (32, 16)
    )
    assert full["depth"].shape == (5, 32, 32, 1) and half["depth"].shape == (5, 16, 16, 1)
    assert half["image"].shape == (5, 16, 16, 3)
    assert set(np.unique(half["depth"])) <= set(np.unique(full["depth"]))
    for big, small in zip(full["depth"], half["depth"]):
        np.testing.assert_array_equal(small, big[1::2, 1::2])


def test_sources_are_mixed_by_their_weights(faces, heads):
    batches = make_batches({"faces": faces, "heads": heads}, config(batch_size=8), weights={"faces": 3, "heads": 1})
    known = {camera.tobytes() for camera in heads.cameras}
    known |= {pictures.mirror_label(np.frombuffer(camera, np.float32)).tobytes() for camera in known}
    for batch in take(batches, 12):
        assert sum(camera.tobytes() in known for camera in batch["camera"]) == 2


def test_processes_share_an_epoch_without_overlap(faces):
    whole = take(make_batches({"faces": faces}, config(batch_size=6)), 8)
    parts = [
        take(make_batches({"faces": faces}, config(batch_size=2), process_index=i, process_count=3), 8)
        for i in range(3)
    ]
    states = []
    for index in range(3):
        batches = make_batches({"faces": faces}, config(batch_size=2), process_index=index, process_count=3)
        take(batches, 2)
        states.append(batches.get_state())
    assert states[0] == states[1] == states[2]
    for step, batch in enumerate(whole):
        together = np.concatenate([part[step]["camera"] for part in parts])
        np.testing.assert_array_equal(together, batch["camera"])


def test_processes_make_as_many_batches_each(faces):
    options = config(batch_size=1, epochs=1, drop_remainder=False)
    parts = [list(make_batches({"f": faces}, options, process_index=i, process_count=7)) for i in range(7)]
    assert [len(part) for part in parts] == [3] * 7
    assert len({batch["camera"].tobytes() for part in parts for batch in part}) == 21


def test_balanced_sources_show_rare_yaws_more_often(faces):
    cameras = faces.cameras
    balanced = balance_yaw(faces, YawBalance(max_copies=6))
    options = config(batch_size=len(balanced), mirror=0)
    batch = next(make_batches({"faces": balanced}, options))
    counts = [(batch["camera"] == camera).all(axis=1).sum() for camera in cameras]
    assert counts == np.bincount(balanced.indices).tolist() and max(counts) > 1


def test_the_generator_is_a_source_like_any_other(faces, generated):
    sources = {"faces": faces, "own": generated}
    options = config(batch_size=4, fields=("image", "camera", "mask"), background=(255, 255, 255), mirror=0)
    running = make_batches(sources, options)
    wanted = take(running, 2)
    state, later = running.get_state(), take(running, 2)
    own = np.array([generated.sample(i, ("camera",))["camera"] for i in range(4)])
    # One at a time and in batches they may round otherwise.
    got = [camera for batch in wanted for camera in batch["camera"] if np.abs(own - camera).max(axis=1).min() < 1e-6]
    np.testing.assert_allclose(got, own, atol=1e-6)
    again = make_batches(sources, options)
    again.set_state(state)
    assert_same(take(again, 2), later)


def test_processes_draw_different_samples_from_the_generator(generated):
    options = config(batch_size=2, mirror=0)
    parts = [next(make_batches({"own": generated}, options, process_index=i, process_count=2)) for i in range(2)]
    wanted = np.array([generated.sample(i, ("camera",))["camera"] for i in range(4)])
    np.testing.assert_array_equal(np.concatenate([part["camera"] for part in parts]), wanted)


def test_worker_processes_make_the_same_batches(faces):
    wanted = take(make_batches({"faces": faces}, config()), 6)
    working = make_batches({"faces": faces}, config(workers=2))
    first, state = take(working, 2), working.get_state()
    assert_same(first, wanted[:2])
    assert_same(take(working, 2), wanted[2:4])
    working.set_state(json.loads(json.dumps(state)))
    assert_same(take(working, 4), wanted[2:])
    working.close()


def test_sets_can_be_sent_to_processes(faces):
    copy = pickle.loads(pickle.dumps(faces))
    assert repr(copy) == repr(faces) and str(faces.folder) not in repr(faces)
    np.testing.assert_array_equal(copy.sample(3, ("image",))["image"], faces.sample(3, ("image",))["image"])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"resolution": 0}, "resolution"),
        ({"threads": 0}, "threads"),
        ({"epochs": 0}, "epochs"),
        ({"mirror": 1.5}, "mirror"),
        ({"seed": -1}, "seed"),
        ({"dtype": "float16"}, "dtype"),
        ({"fields": ()}, "fields"),
        ({"mirror": "left"}, "mirror"),
        ({"cache_gigabytes": -1.0}, "cache_gigabytes"),
        ({"fields": ("image", "camera", "parts")}, "fields"),
        ({"background": (255, 255)}, "background"),
        ({"background": (0.5, 1, 2)}, "background"),
        ({"background": (0, 0, 256)}, "background"),
    ],
)
def test_bad_options(change, words):
    with pytest.raises(InputError, match=words):
        config(**change)


def test_bad_arguments(faces, generated):
    with pytest.raises(InputError, match="at least one source"):
        make_batches({}, CONFIG)
    with pytest.raises(InputError, match="source faces must have depth, got camera, image"):
        make_batches({"faces": faces}, config(fields=("image", "camera", "depth")))
    with pytest.raises(InputError, match=r"process_index must lie in 0\.\.1, got 2"):
        make_batches({"faces": faces}, CONFIG, process_index=2, process_count=2)
    with pytest.raises(InputError, match="a sample per process, got 24 for 30"):
        make_batches({"faces": faces}, CONFIG, process_count=30)
    for weights in ({"other": 1}, {"faces": 0}, {"faces": 1, "more": 1}):
        with pytest.raises(InputError, match="weights must be positive for faces"):
            make_batches({"faces": faces}, CONFIG, weights=weights)
    with pytest.raises(InputError, match="workers must be 0 with the generator"):
        make_batches({"own": generated}, config(workers=1))
    with pytest.raises(InputError, match="fields must not name pose with the generator as source own"):
        make_batches({"own": generated}, config(fields=("image", "camera", "pose")))
    with pytest.raises(InputError, match="epochs must be None where samples never end, got 1"):
        make_batches({"own": generated}, config(epochs=1))


def test_without_grain_one_line_names_the_extra(faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(InputError, match=r"needs grain: pip install 'panojax\[train\]'"):
        make_batches({"faces": faces}, CONFIG)


def test_a_mix_of_several_sources_is_shared_by_processes_as_well(faces, heads):
    options, weights = {"background": (255, 255, 255), "cache_gigabytes": 0.0}, {"faces": 2, "heads": 1}
    readers = {"faces": faces, "heads": heads}
    whole = take(make_batches(readers, config(batch_size=4, **options), weights=weights), 6)
    halves = [
        make_batches(readers, config(batch_size=2, **options), weights=weights, process_index=i, process_count=2)
        for i in range(2)
    ]
    for batch in whole:
        parts = [next(half) for half in halves]
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])


def test_pictures_are_the_same_from_memory_and_from_disk(faces, heads):
    """The second epoch comes from memory."""
    fields = ("image", "mask", "camera", "other_image", "other_camera", "head", "pose", "mirrored")
    readers, options = {"heads": heads, "faces": faces}, {"background": (255, 255, 255), "fields": fields}
    kept = make_batches(readers, config(**options))
    read = make_batches(readers, config(**options, cache_gigabytes=1e-9))
    assert [store.keep for store in (*kept.stores, *read.stores)] == [True, True, False, False]
    assert_same(take(kept, 12), take(read, 12))


def test_any_batch_can_be_made_alone(faces):
    batches = make_batches({"faces": faces}, config())
    first = take(batches, 5)
    batches.seek(3)
    assert_same(take(batches, 1), first[3:4])
    assert batches.position == 4


def test_rows_and_bytes_are_what_pictures_are_made_of(heads):
    """For a device that gathers, mirrors and converts by itself."""
    options = {"background": (255, 255, 255), "mirror": "both"}
    names = ("image", "mask", "depth", "camera", "mirrored")
    pictures = make_batches({"heads": heads}, config(fields=names, dtype="uint8", **options))
    raw = make_batches({"heads": heads}, config(fields=("pixels", "depths", "camera", "mirrored"), **options))
    rows = make_batches({"heads": heads}, config(fields=("row", "depths", "camera", "mirrored"), **options))
    rows.stores[0].fill(np.arange(len(heads)))
    arrays = rows.stores[0].arrays()
    for made, stored, row in itertools.islice(zip(pictures, raw, rows), 4):
        assert row.keys() == {"row", "camera", "mirrored"}
        for name in ("pixels", "depths"):
            np.testing.assert_array_equal(arrays[name][row["row"]], stored[name])
        flipped = stored["mirrored"]
        pixels, depths = stored["pixels"].copy(), stored["depths"].copy()
        pixels[flipped], depths[flipped] = pixels[flipped][:, :, ::-1], depths[flipped][:, :, ::-1]
        np.testing.assert_array_equal(made["image"], pixels[..., :3])
        np.testing.assert_array_equal(made["mask"], pixels[..., 3:])
        np.testing.assert_array_equal(made["depth"][..., 0], depths / np.float32(8192))
        np.testing.assert_array_equal(made["camera"], stored["camera"])
    rows.stores[0].forget()


def test_an_epoch_shows_both_sides_of_every_picture(faces, sets):
    for epoch in range(2):
        batches = make_batches({"faces": faces}, config(batch_size=8, mirror="both"))
        batches.seek(6 * epoch)
        batches = take(batches, 6)
        sides = [image[0, 0, 0] == 1 for batch in batches for image in batch["image"]]
        assert sorted(zip(numbers(batches, sets), sides)) == [(n, side) for n in range(24) for side in (False, True)]


def test_poses_are_cameras_of_the_same_pictures(faces):
    batch = next(make_batches({"faces": faces}, config(batch_size=200, fields=("camera", "pose"), mirror="both")))
    either = np.concatenate([faces.cameras, pictures.mirror_label(faces.cameras)])
    hit = (batch["pose"][:, None] == either).all(-1)
    assert hit.any(1).all() and hit.any(0).sum() > 40
    assert not np.array_equal(batch["pose"], batch["camera"])


def test_a_set_without_masks_cannot_be_composed(folder, tmp_path):
    plain = open_set(prepare(FolderOptions(folder, "plain", size=32, test_share=0), tmp_path / "sets"))
    with pytest.raises(InputError, match="source plain must have mask"):
        make_batches({"plain": plain}, config(background=(255, 255, 255)))
