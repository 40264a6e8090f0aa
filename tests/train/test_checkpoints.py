import jax
import jax.numpy as jnp
import numpy as np
import pytest

from panojax.errors import InputError
from panojax.train.checkpoints import Checkpoints


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
