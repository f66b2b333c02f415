"""Optional parts: each is one module and one line in app.py."""
