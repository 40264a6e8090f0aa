import numpy as np
import pytest

from panojax.data.head_reader import open_heads
from panojax.errors import InputError
from panojax.synthetic.render import View
from panojax.synthetic.splits import split_of
from panojax.synthetic.storage import read_identity, write_identity


@pytest.fixture
def heads(sets, tmp_path):
    return sets["make_heads"](tmp_path / "heads", numbers=(*range(11), 27), views=3)


def test_all_views_of_a_split_in_their_order(heads):
    reader = open_heads(heads)
    trained = range(11)  # 27 is in the test split
    assert len(reader) == 3 * len(trained)
    np.testing.assert_array_equal(reader.heads, np.repeat(np.arange(len(trained)), 3))
    for place, number in enumerate(trained):
        views = read_identity(heads / f"{number:06d}.zip")
        for i in range(3):
            sample = reader[3 * place + i]
            np.testing.assert_array_equal(sample["image"], views.rgba[i, ..., :3])
            np.testing.assert_array_equal(sample["mask"], views.rgba[i, ..., 3:])
            np.testing.assert_array_equal(sample["depth"][..., 0], views.depth[i])
            np.testing.assert_array_equal(sample["camera"], views.labels[i])
            assert sample["head"] == place
    assert reader.part == "train" and not reader.backgrounds


def test_splits_are_apart(sets, tmp_path):
    """The file says which it is in; where it does not, its number does."""
    heads = sets["make_heads"](tmp_path / "heads", numbers=(0, 1, 27), views=1)
    tested = next(number for number in range(28, 100) if split_of(number) == "test")
    views = read_identity(heads / "000000.zip")
    picture = View(views.rgba[0], np.zeros((32, 32), np.uint16), views.parts[0])
    write_identity(heads / f"{tested:06d}.zip", {}, views.labels, [picture])
    parts = {part: [int(path.stem) for path in open_heads(heads, part).paths] for part in ("train", "test")}
    assert parts == {"train": [0, 1], "test": [27, tested]}


def test_what_cannot_be_read_is_named(heads, tmp_path):
    with pytest.raises(InputError, match="no heads in its train split"):
        open_heads(tmp_path)
    with pytest.raises(InputError, match="part must be one of"):
        open_heads(heads, "all")
    reader = open_heads(heads)
    reader.paths[0].write_bytes(b"PK")
    with pytest.raises(InputError, match=r"zip must be an identity written by `panojax heads`"):
        reader[0]
    with pytest.raises(InputError, match="must be an identity"):
        open_heads(heads)


def test_a_reader_is_told_by_its_heads(heads, sets, tmp_path):
    other = sets["make_heads"](tmp_path / "other", numbers=tuple(range(12)), views=2)
    assert repr(open_heads(heads)) == repr(open_heads(heads))
    assert repr(open_heads(other)) != repr(open_heads(heads))
