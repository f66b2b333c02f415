"""Measures generated applications side by side with others: `python3 -m bench`."""
