"""`panojax view`: heads in a browser. What is shown is decided by plain functions; only `app.py` knows viser."""
