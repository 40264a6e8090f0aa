"""The commands of `panojax`, one a file: an `Options` dataclass and a `run(options)`; `cli.py` puts them together.

What a command needs is imported when it runs, so that `panojax --help` answers at once.
"""
