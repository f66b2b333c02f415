"""What only a Redis cluster needs."""
