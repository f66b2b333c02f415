"""Fixtures for the tests in all folders; gospa/testing.py describes them."""

pytest_plugins = ["gospa.testing"]
