import jax
import numpy as np
import pytest

import panojax
from panojax.data.generated import GeneratedHeads, GeneratedOptions, make_samples
from panojax.errors import InputError
from panojax.params import random_params

FIELDS = ("image", "camera", "mask", "depth")


def assert_same(got, wanted):
    for name in FIELDS:
        np.testing.assert_array_equal(got[name], wanted[name])


def test_samples_are_in_range_and_differ(generated):
    samples = [generated.sample(i, FIELDS) for i in range(4)]
    for sample in samples:
        assert {n: (sample[n].shape, sample[n].dtype.name) for n in FIELDS} == {
            "image": ((32, 32, 3), "uint8"),
            "camera": ((25,), "float32"),
            "mask": ((32, 32, 1), "uint8"),
            "depth": ((32, 32, 1), "float32"),
        }
        panojax.camera.check_label(sample["camera"])
        assert ((sample["depth"] > 0) == (sample["mask"] >= 128)).mean() > 0.99  # but for rounding at one half
    assert len({sample["image"].tobytes() for sample in samples}) == 4
    assert len({sample["camera"].tobytes() for sample in samples}) == 4


def test_a_sample_is_the_generators_own_picture(small_params, generated):
    key = jax.random.fold_in(jax.random.key(3), 5)
    z_key, _, _, render_key = jax.random.split(key, 4)
    sample = generated.sample(5, FIELDS)
    z = jax.random.normal(z_key, (small_params.config.generator.z_dim,))
    head = jax.jit(panojax.generate)(small_params, z, truncation=0.7)
    view = jax.jit(panojax.render)(small_params, head, sample["camera"], key=render_key)
    small = jax.image.resize(view.image, (32, 32, 3), "linear")
    wanted = np.clip(np.asarray(small) * 127.5 + 127.5, 0, 255)
    assert np.abs(sample["image"] - wanted).max() < 1.5  # one program for a block, another for one picture


def test_order_and_repetition_do_not_matter(small_params, generated):
    wanted = [generated.sample(i, FIELDS) for i in range(6)]
    again = GeneratedHeads(small_params, seed=3, options=generated.options)
    for i in (5, 0, 3, 3, 1, 4, 2):
        assert_same(again.sample(i, FIELDS), wanted[i])


def test_blocks_are_made_once_while_they_are_kept(small_params, generated, monkeypatch):
    made = []
    source = GeneratedHeads(small_params, seed=3, options=generated.options)
    make = source._make
    monkeypatch.setattr(source, "_make", lambda number: made.append(number) or make(number))
    for i in (0, 1, 2, 3, 0, 1, 4, 5, 2, 0):
        source.sample(i, ("camera",))
    assert made == [0, 1, 2, 1, 0]  # two blocks are kept: 4 drops block 1, 2 drops block 0


def test_seed_and_parameters_are_told_apart(small_params, generated):
    other = GeneratedHeads(random_params(small_params.config, seed=1), seed=3, options=generated.options)
    texts = {repr(generated), repr(other), repr(GeneratedHeads(small_params, seed=4, options=generated.options))}
    assert len(texts) == 3
    assert repr(generated) == repr(GeneratedHeads(small_params, seed=3, options=generated.options))


def test_released_size_traces():
    """Shapes at the released configuration, without computing anything."""
    generator = panojax.GeneratorConfig()
    abstract = jax.eval_shape(lambda: random_params_like(generator))
    shapes = jax.eval_shape(
        lambda p, k, i: make_samples(p, k, i, options=GeneratedOptions(resolution=256)),
        abstract,
        jax.eval_shape(lambda: jax.random.key(0)),
        jax.ShapeDtypeStruct((4,), jax.numpy.uint32),
    )
    assert shapes["image"].shape == (4, 256, 256, 3) and shapes["depth"].shape == (4, 256, 256, 1)


def random_params_like(generator):
    config = panojax.Config(generator)
    arrays = panojax.params.abstract_arrays(config)["generator"]
    zeros = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), arrays)
    return panojax.Params(zeros, config=config)


@pytest.mark.parametrize(
    "change", [{"resolution": 0}, {"block": 0}, {"kept_blocks": 0}, {"max_yaw": 4.0}, {"max_pitch": 2.0}]
)
def test_bad_options(change):
    with pytest.raises(InputError, match=next(iter(change))):
        GeneratedOptions(**change)
