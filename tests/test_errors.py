"""Checks of arguments."""

import pytest

from panojax.errors import InputError, check_choice


def test_a_choice_of_any_length_is_named_in_a_short_line():
    with pytest.raises(InputError, match=r"^space must be one of a, b, got 'c'$"):
        check_choice("space", "c", ("a", "b"))
    with pytest.raises(InputError) as caught:
        check_choice("space", "x\n" * 5000, ("a", "b"))
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)
