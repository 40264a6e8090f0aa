"""Where what can be made or fetched again is kept."""

import os
import pathlib


def cache_folder() -> pathlib.Path | None:
    """panojax's folder in the user's cache folder (XDG), made or not; None where there is no user and no variable.

    In containers there may be neither HOME nor an entry for the user's number.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        return pathlib.Path(cache) / "panojax"
    try:
        return pathlib.Path.home() / ".cache" / "panojax"
    except RuntimeError:
        return None
