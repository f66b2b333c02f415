"""Modules for a Redis cluster only."""
