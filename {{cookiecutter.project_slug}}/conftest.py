"""Fixtures for all tests, wherever they lie: they are described in gospa/testing.py."""

pytest_plugins = ["gospa.testing"]
