"""Sessions: what the server remembers of a visitor, found by a token in a cookie."""
