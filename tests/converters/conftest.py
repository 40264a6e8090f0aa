"""What the tests of refused files share."""

import pytest

from panojax.converters.read import read_checkpoint
from panojax.errors import InputError


@pytest.fixture
def refuse(tmp_path):
    """A function that asserts that a file of some bytes is refused in one line that names it and says `message`."""
    path = tmp_path / "checkpoint.pkl"

    def check(data, message, read=read_checkpoint):
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            read(path)
        shown = str(caught.value)
        assert shown.startswith(f"{path}: ") and message in shown
        assert shown.isprintable() and len(shown) < len(str(path)) + 400

    return check
