"""Sessions: data about a visitor, found by the token in a cookie."""
