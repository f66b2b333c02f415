"""The command `python -m gospa`, for operators."""
