"""Order of the tests."""

LONGEST = ("test_encoder_steps.py", "test_encoder.py", "test_cli.py", "test_inversion.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one of them at the end (`--dist loadfile`)."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
