import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from panojax.errors import InputError
from panojax.train.checkpoints import Checkpoints

# What Orbax's threads leave of reads that fail complains when it is freed, be it in a later test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state(value):
    return {"a": jnp.full(3, value, jnp.float32), "step": jnp.int32(value)}


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path / "checkpoints", keep=2)
    yield opened
    opened.close()


def test_newest_and_best_are_kept(checkpoints):
    for step, loss in enumerate([3.0, 1.0, 2.0, 4.0, 5.0]):
        checkpoints.save(step, state(step), {"position": step}, validation=loss)
    checkpoints.wait()
    assert sorted(int(p.name) for p in checkpoints.folder.iterdir()) == [1, 3, 4]
    assert (checkpoints.latest, checkpoints.best) == (4, 1)
    restored, source, step = checkpoints.restore(state(0))
    assert (source, step) == ({"position": 4}, 4)
    np.testing.assert_array_equal(restored["a"], np.full(3, 4))
    again = Checkpoints(checkpoints.folder)
    restored, _, _ = again.restore(state(0), again.best)
    assert restored["step"] == 1
    again.close()


def test_best_is_the_newest_where_none_was_validated(checkpoints):
    assert (checkpoints.latest, checkpoints.best) == (None, None)
    for step in (1, 2):
        checkpoints.save(step, state(step), None)
    checkpoints.wait()
    assert (checkpoints.latest, checkpoints.best) == (2, 2)


def test_what_was_saved_may_be_donated_at_once(checkpoints):
    count_up = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros(2**22)
    for step in range(3):
        checkpoints.save(step, {"a": x}, None)
        for _ in range(20):
            x = count_up(x)
    checkpoints.wait()
    for step in (1, 2):
        restored, _, _ = checkpoints.restore({"a": jnp.zeros(2**22)}, step)
        np.testing.assert_array_equal(restored["a"], np.full(2**22, 20 * step))


def test_half_a_checkpoint_is_none(checkpoints):
    checkpoints.save(1, state(1), None)
    checkpoints.wait()
    half = checkpoints.folder / "2.orbax-checkpoint-tmp-0"
    (half / "state").mkdir(parents=True)
    again = Checkpoints(checkpoints.folder)
    assert again.latest == 1
    again.close()


def test_other_states_are_refused(checkpoints):
    with pytest.raises(InputError, match="has no checkpoint"):
        checkpoints.restore(state(0))
    checkpoints.save(1, state(1), None)
    checkpoints.wait()
    with pytest.raises(InputError, match="does not fit"):
        checkpoints.restore({"a": jnp.zeros(4), "step": jnp.int32(0)})
    with pytest.raises(InputError, match="no checkpoint of step 7"):
        checkpoints.restore(state(0), 7)
    with pytest.raises(InputError, match="keep must be"):
        Checkpoints(checkpoints.folder, keep=0)


def saved(folder):
    """Checkpoints of steps 1 and 2 on disk."""
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step), {"position": step}, validation=1.0 / step)


def spoil(folder):
    """Empties all files of numbers, as a loss of power does."""
    for path in list(folder.rglob("*")):
        if path.parent.name == "d":
            path.write_bytes(b"")


def damage(path, how):
    if how == "flipped":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damage_to_any_file_of_the_newest_one_is_noticed(tmp_path, how, capsys):
    """What is restored is what was saved, of the newest checkpoint or of the one before; never anything else."""
    saved(tmp_path / "good")
    names = [path.relative_to(tmp_path / "good") for path in (tmp_path / "good" / "2").rglob("*") if path.is_file()]
    fell_back = 0
    for i, name in enumerate(names):
        folder = tmp_path / str(i) / "checkpoints"
        shutil.copytree(tmp_path / "good", folder)
        damage(folder / name, how)
        with Checkpoints(folder, keep=3) as checkpoints:
            restored, source, step = checkpoints.restore(state(0))
            assert step in (1, 2) and source == {"position": step}, name
            np.testing.assert_array_equal(restored["a"], np.full(3, step), err_msg=str(name))
            if step == 1:
                fell_back += 1
                assert (tmp_path / str(i) / "damaged" / "2").is_dir() and checkpoints.latest == 1
                told = capsys.readouterr().err
                assert "2 cannot be read: " in told and "goes on from step 1" in told and "<bound" not in told
    assert fell_back >= 4  # the others hold nothing that is needed


def test_a_run_goes_on_after_damage(tmp_path):
    saved(tmp_path / "checkpoints")
    spoil(tmp_path / "checkpoints" / "2")
    with Checkpoints(tmp_path / "checkpoints", keep=3) as checkpoints:
        assert checkpoints.restore(state(0))[2] == 1
        checkpoints.save(2, state(20), {"position": 20})
    with Checkpoints(tmp_path / "checkpoints", keep=3) as checkpoints:
        assert checkpoints.restore(state(0))[0]["step"] == 20
    assert (tmp_path / "damaged" / "2").is_dir()


def test_where_all_are_damaged_nothing_is_moved_and_the_message_helps(tmp_path):
    saved(tmp_path / "checkpoints")
    spoil(tmp_path / "checkpoints")
    with Checkpoints(tmp_path / "checkpoints", keep=3) as checkpoints:
        with pytest.raises(InputError, match=r"has no checkpoint that can be read: .*; move the folder away"):
            checkpoints.restore(state(0))
        assert checkpoints.latest == 2 and not (tmp_path / "damaged").exists()


def test_a_reader_changes_nothing(tmp_path):
    saved(tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp-0").mkdir()  # a run is writing it
    spoil(tmp_path / "checkpoints" / "2")
    before = sorted(tmp_path.rglob("*"))
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore(state(0))[2] == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "content", ["5", "[]", '{"init_timestamp_nsecs": "x"}', '{"item_handlers": {"state": 5}}', "{", ""]
)
def test_metadata_that_are_damaged(tmp_path, content):
    """orbax reads those of all steps when it opens the folder."""
    saved(tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "1" / "_CHECKPOINT_METADATA").write_text(content)
    with Checkpoints(tmp_path / "checkpoints", keep=3) as checkpoints:
        assert checkpoints.restore(state(0))[2] == 2
    assert (tmp_path / "damaged" / "1").is_dir()
