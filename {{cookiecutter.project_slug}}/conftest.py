"""Fixtures for all tests, wherever they lie: they are described in gospa/testing/."""

pytest_plugins = ["gospa.testing"]
