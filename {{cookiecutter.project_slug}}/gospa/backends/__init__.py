"""Backends: one package each, in it a module for each role: `state`, `pubsub`, `storage`."""
