import json

import numpy as np
import pytest

from panojax.synthetic import splits
from panojax.synthetic.identity import as_json
from panojax.synthetic.sampling import DETAILS, HAIR_STYLES, NECKLINES, sample_identity, stream
from panojax.synthetic.shape import age_weights, macro_weights

NUMBERS = range(400)


@pytest.fixture(scope="module")
def people():
    return [sample_identity(5, number) for number in NUMBERS]


def test_a_function_of_seed_and_number(people):
    assert sample_identity(5, 17) == people[17]
    assert sample_identity(5, 17) != sample_identity(6, 17)
    assert len({json.dumps(as_json(person)["shape"]) for person in people}) == len(people)


def test_streams_do_not_share_numbers():
    draws = {
        stream(seed, number, use).integers(2**62) for seed in (0, 1) for number in (0, 1) for use in ("hair", "skin")
    }
    assert len(draws) == 8


def test_parameters_are_plain_json(people):
    for person in people[:20]:
        assert json.loads(json.dumps(as_json(person)))["hair"]["style"] == person.hair.style


def test_splits_are_a_function_of_the_number_with_their_shares():
    counts = {"train": 0, "validation": 0, "test": 0}
    for number in range(20000):
        counts[splits.split_of(number)] += 1
    assert abs(counts["test"] / 20000 - splits.TEST_SHARE) < 0.006
    assert abs(counts["validation"] / 20000 - splits.VALIDATION_SHARE) < 0.006
    assert [splits.split_of(n) for n in range(50)] == [splits.split_of(n) for n in range(50)]


def test_held_out_hair_and_skins_are_in_test_heads_only():
    test_numbers = [n for n in range(2000) if splits.split_of(n) == "test"]
    tested = [sample_identity(5, n) for n in test_numbers]
    assert {p.hair.style for p in tested} >= set(splits.TEST_ONLY_HAIR)
    assert {name for p in tested for name in p.skin.names} >= set(splits.TEST_ONLY_SKINS)
    for number in NUMBERS:
        person = sample_identity(5, number)
        if person.split != "test":
            assert person.hair.style not in splits.TEST_ONLY_HAIR
            assert not set(person.skin.names) & set(splits.TEST_ONLY_SKINS)


def test_one_of_each_opposing_pair_and_both_sides_alike(people):
    pairs = [
        (f"{region}/{stem}", *endings.split())
        for region, rows in DETAILS.items()
        for endings, stems in rows
        for stem in stems.split()
    ]
    for person in people[:50]:
        details = person.shape.details
        assert all(0 <= weight <= 1 for weight in details.values())
        for stem, low, high in pairs:
            assert not (f"{stem}-{low}" in details and f"{stem}-{high}" in details)
            if "/l-" in stem:
                left, right = (
                    details.get(f"{side}-{high}", 0) - details.get(f"{side}-{low}", 0)
                    for side in (stem, stem.replace("/l-", "/r-"))
                )
                assert abs(left - right) < 0.25
    signed = [
        p.shape.details.get("nose/nose-hump-incr", 0) - p.shape.details.get("nose/nose-hump-decr", 0) for p in people
    ]
    assert 0.15 < np.std(signed) < 0.3 and abs(np.mean(signed)) < 0.05


def test_people_vary(people):
    styles = {p.hair.style for p in people}
    assert styles >= set(HAIR_STYLES) - set(splits.TEST_ONLY_HAIR)
    assert {p.shirt.neckline for p in people} == set(NECKLINES)
    ages = [p.shape.age for p in people]
    assert min(ages) < 16 and max(ages) > 70
    males = np.array([p.shape.male for p in people])
    assert 0.4 < (males > 0.5).mean() < 0.6
    bearded = [p for p in people if p.face.beard_length > 0]
    assert bearded and all(p.shape.male > 0.5 and p.shape.age > 20 for p in bearded)


def test_macro_weights_sum_to_one_of_each_kind(people):
    for person in people[:50]:
        weights = macro_weights(person.shape)
        bodies = sum(weight for path, weight in weights.items() if "universal" in path)
        faces = sum(weight for path, weight in weights.items() if "universal" not in path)
        np.testing.assert_allclose([bodies, faces], 1, atol=5e-3)


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        (5, {"child": 1, "young": 0}),
        (25, {"young": 1, "old": 0}),
        (57.5, {"young": 0.5, "old": 0.5}),
        (99, {"young": 0, "old": 1}),
    ],
)
def test_age_anchors(years, expected):
    assert age_weights(years) == pytest.approx(expected)
