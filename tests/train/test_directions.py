"""Directions from labelled codes, wherever these come from."""

import dataclasses
import json

import jax.numpy as jnp
import micro
import numpy as np
import pytest

import panojax
from panojax import api
from panojax.camera import look_at
from panojax.editing.directions import read_directions, save_directions
from panojax.errors import InputError
from panojax.synthetic import storage
from panojax.synthetic.render import View
from panojax.train import directions
from panojax.train.directions import DirectionsConfig

HEAD = {
    "shape": {"age": 30.0, "male": 0.2, "weight": 0.5, "expression": {"mouthSmileLeft": 0.4}},
    "face": {"beard_length": 0.0},
    "hair": {"style": "bald", "colour": [0.1, 0.1, 0.1]},
    "shirt": {"colours": [[1.0, 1.0, 1.0]]},
}


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["directions", *map(str, arguments)])
    return directions.main()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directions") / "model"
    panojax.save(micro.micro_generator(), folder)
    return folder


def test_codes_from_a_file(model, tmp_path, monkeypatch, capsys):
    """A file in, a file out: learned on nine tenths, scored on one, and what does not differ is left out."""
    codes = np.random.default_rng(0).standard_normal((400, 2, 16))
    labels = {"age": 40 + codes[:, 0, 3], "smiles": codes[:, 1, 5] > 0, "same": np.ones(400)}
    labels["luck"] = np.random.default_rng(1).random(400)
    np.savez(tmp_path / "codes.npz", ws=codes, **labels)
    arguments = ["--checkpoint", model, "--codes", tmp_path / "codes.npz", "--out", tmp_path / "found.npz"]
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert "learned from 360 codes; on 40 others" in printed
    *told, luck = printed.splitlines()[1:]
    assert luck.startswith("  luck: correlation") and luck.endswith(", left out")
    scores = {line.split(":")[0].strip(): float(line.split()[-1]) for line in told}
    assert list(scores) == ["age", "smiles"] and min(scores.values()) > 0.9
    assert "age: correlation" in printed and "smiles: area under the ROC curve" in printed
    found = read_directions(tmp_path / "found.npz", panojax.load(model))
    assert list(found) == ["age", "smiles"]
    assert np.abs(found["age"]).argmax() == 3 and np.abs(found["smiles"]).argmax() == 16 + 5
    assert run(monkeypatch, *arguments) == 2 and "out must not exist yet" in capsys.readouterr().err
    strict = [*arguments, "--overwrite", "--least", "0.9999"]
    assert run(monkeypatch, *strict) == 2 and "least must be below" in capsys.readouterr().err


def test_samples_of_the_generator(monkeypatch):
    """Every code has the label of its own picture."""

    def render(_, head, camera):
        assert camera.shape == (25,)
        return panojax.View(*[jnp.full((8, 8, 3), head.ws.mean())] * 5)

    monkeypatch.setattr(api, "render", render)
    monkeypatch.setattr(directions, "picture_attributes", lambda image: {"light": float(image.mean())})
    codes, labels = directions.draw_labelled(micro.micro_generator(), 3, truncation=0.7, seed=1)
    assert codes.shape == (3, 2, 16) and len(set(labels["light"])) == 3
    np.testing.assert_allclose(labels["light"], codes.mean((1, 2)), rtol=1e-5)


def test_pictures_are_measured(monkeypatch):
    """A quarter each of hair, skin, clothes and background, of other greys."""
    image, chances = np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 5), np.float32)
    for quarter, (part, grey) in enumerate(((2, -1.0), (1, 0.5), (4, 0.0), (0, 1.0))):
        rows = slice(2 * quarter, 2 * quarter + 2)
        image[rows], chances[rows, :, part] = grey, 1
    monkeypatch.setattr(directions, "segment", lambda _: chances)
    found = directions.picture_attributes(image)
    assert found == {"hair": 0.5, "fair_hair": 0.0, "fair_skin": 0.75, "light_clothes": 0.5}
    chances[..., 4] = 0
    assert np.isnan(directions.picture_attributes(image)["light_clothes"])


def test_synthetic_heads_are_encoded(tmp_path, monkeypatch):
    """Front views on white, as many as asked for, in batches; every view has its head's attributes."""
    views, yaws = [], (0.1, 3.0, -0.2)
    for grey in (60, 120, 180):
        rgba = np.full((16, 16, 4), grey, np.uint8)
        rgba[..., 3] = np.where(np.arange(16) < 8, 255, 0)
        views.append(View(rgba, np.zeros((16, 16), np.uint16), np.zeros((16, 16), np.uint8)))
    labels = np.stack([look_at(yaw) for yaw in yaws])
    for number, split in enumerate(["train"] * 5 + ["test"]):
        age = {"shape": HEAD["shape"] | {"age": 10.0 * number}}
        storage.write_identity(storage.identity_path(tmp_path, number), HEAD | age | {"split": split}, labels, views)
    params = micro.micro_generator()
    config = panojax.Config(params.config.generator, panojax.encoders.encoder_config.light(resolution=32))
    encoders = {"both": {"w": jnp.array([1.0, 5.0])}, "latent_average": jnp.full((2, 16), 100.0)}

    def encode_styles(_, variables, images):
        assert images.shape == (8, 32, 32, 3)
        codes = variables["w"] * (images[:, 0, :1, :1] + images[:, 0, -1:, :1])
        return jnp.broadcast_to(codes, (8, 2, 16))

    monkeypatch.setattr(directions, "encode_styles", encode_styles)
    params = params.replace(encoders=encoders, config=config)
    codes, found = directions.encode_heads(params, tmp_path, ("train",), 2)
    assert codes.shape == (10, 2, 16)
    both = np.tile([60, 180], 5) / 127.5 - 1 + 1  # the views at 0.1 and -0.2, and the white beside the head
    np.testing.assert_allclose(codes, np.broadcast_to(100 + both[:, None, None], codes.shape), atol=1e-4)
    np.testing.assert_array_equal(found["age"], np.repeat(np.arange(5) * 10.0, 2))
    assert (found["male"] == 0).all() and (found["smile"] == 0.4).all() and (found["light_clothes"] == 1).all()
    assert np.isnan(found["fair_hair"]).all()
    with pytest.raises(InputError, match="heads must hold identities of the splits validation"):
        directions.encode_heads(params, tmp_path, ("validation",), 2)
    with pytest.raises(InputError, match="checkpoint must hold two encoders"):
        directions.encode_heads(micro.micro_generator(), tmp_path, ("train",), 2)


def test_attributes_of_real_identities_of_both_editions():
    """As `panojax heads` stores them."""
    from panojax.synthetic import identity
    from panojax.synthetic.edition2 import people
    from panojax.synthetic.edition2.sampling import sample_person
    from panojax.synthetic.sampling import sample_identity

    for draw, as_json in ((sample_identity, identity.as_json), (sample_person, people.as_json)):
        heads = [json.loads(json.dumps(as_json(draw(0, number)))) for number in range(20)]
        rows = [directions.head_attributes(head) for head in heads]
        for name in directions.HEAD_ATTRIBUTES:
            values = np.array([row[name] for row in rows])
            known = values[~np.isnan(values)]
            assert len(known) > 15 and len(set(known)) > 1, name


def test_heads_that_do_not_tell_an_attribute():
    for parameters in ({}, {"shape": None}, {"shape": {"age": "old"}, "shirt": {"colours": []}, "hair": {}}):
        assert np.isnan(list(directions.head_attributes(parameters).values())).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "codes must come from one of --heads, --samples, --codes and --pairs, got none"),
        ({"pairs": 5}, "pairs must be at least 10, got 5"),
        ({"samples": 100, "codes": "a.npz"}, r"got \['samples', 'codes'\]"),
        ({"samples": 5}, "samples must be at least 20, got 5"),
        ({"heads": "heads", "views": 0}, "views must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        DirectionsConfig("out.npz", **options)


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "codes.npz"
    for arrays, message in (
        ({}, 'codes must hold "ws"'),
        ({"ws": np.ones((3, 2, 4))}, 'codes must hold "ws"'),
        ({"ws": np.ones((3, 2, 4)), "age": np.ones(2)}, r"labels must be \[3\], one a code, .* has age: \[2\]"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            directions.read_labelled(path)
    with pytest.raises(InputError, match=r"codes must be an \.npz file"):
        directions.read_labelled(tmp_path / "none.npz")


def test_pairs_differ_in_age_alone():
    from panojax.synthetic.pairs import OLD, YOUNG, aged
    from panojax.synthetic.sampling import sample_identity
    from panojax.synthetic.splits import TEST_ONLY_SKINS

    for number in range(30):
        person = sample_identity(0, number)
        young, old = aged(person, *YOUNG), aged(person, *OLD)
        assert (young.shape.age, old.shape.age) == (25, 72)
        for name in ("hair", "face", "shirt", "light", "split"):
            assert getattr(young, name) == getattr(old, name) == getattr(person, name)
        for before, after in zip(young.skin.names, old.skin.names):
            assert before.split("_")[1:] == after.split("_")[1:]
            if person.split != "test":
                assert not {before, after} & (set(TEST_ONLY_SKINS) - set(person.skin.names))
        assert dataclasses.replace(old.shape, age=25.0) == young.shape
        assert dataclasses.replace(old.skin, names=young.skin.names) == young.skin


def test_the_direction_of_pairs_is_their_difference():
    """What differs between people is not in it, nor are the coarse codes."""
    rng = np.random.default_rng(0)
    years = rng.standard_normal((8, 16))
    codes = 5 * rng.standard_normal((40, 1, 1, 8, 16)) + 0.1 * rng.standard_normal((40, 2, 2, 8, 16))
    codes[:, 1] += years
    found, scores = directions.fit_pairs(codes.astype(np.float32))
    np.testing.assert_allclose(found["age"][2:], years[2:] / 2, atol=0.05)
    assert not found["age"][:2].any() and list(scores) == ["age"] and 0.5 < scores["age"][1] <= 1


def test_pairs_by_the_command(tmp_path, monkeypatch, capsys):
    """Drawn, encoded and learned; the directions of another file come along."""
    params = micro.micro_generator()
    config = panojax.Config(params.config.generator, panojax.encoders.encoder_config.light(resolution=32))
    encoders = {"both": {"w": jnp.array([1.0, 5.0])}, "latent_average": jnp.zeros((2, 16))}
    params = params.replace(encoders=encoders, config=config)

    def draw_pairs(assets, numbers, *, seed, views):
        assert (assets, seed, views) == ("assets", 3, 2)
        for number in numbers:
            sides = []
            for grey in (50 + 2 * number, 90 + 2 * number):
                rgba = np.full((16, 16, 4), grey, np.uint8)
                rgba[..., 3] = 255
                sides.append([View(rgba, np.zeros((16, 16), np.uint16), np.zeros((16, 16), np.uint8))] * views)
            yield np.zeros((views, 25)), *sides

    monkeypatch.setattr(directions, "open_assets", lambda: "assets")
    monkeypatch.setattr(directions, "draw_pairs", draw_pairs)
    monkeypatch.setattr(directions, "load", lambda checkpoint, dtype: params)
    monkeypatch.setattr(
        directions, "encode_styles", lambda _, variables, images: jnp.tile(images[:, 0, :1, None, 0], (1, 2, 16))
    )
    kept = {"age": np.ones((2, 16)), "smile": np.full((2, 16), 2.0)}
    save_directions(kept, tmp_path / "kept.npz", params=params)
    words = ["--pairs", 10, "--seed", 3, "--keep", tmp_path / "kept.npz", "--out", tmp_path / "found.npz"]
    assert run(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert "learned from 36 codes; on 4 others" in printed and "age: area under the ROC curve 1.000" in printed
    found = read_directions(tmp_path / "found.npz", params)
    np.testing.assert_allclose(found["age"], 40 / 127.5 / 2, rtol=1e-5)
    np.testing.assert_array_equal(found["smile"], kept["smile"])
