"""Errors of stores, by what a caller may do about them.

StoreError
├── StoreUnavailable   nobody answered, or not in time: try again later
├── StoreFull          the store is out of memory: nothing was written
└── StoreCorrupt       what is stored is not what this application wrote
"""


class StoreError(Exception):
    """A store could not do what it was asked to."""


class StoreUnavailable(StoreError):
    """The store gave no answer. A write may or may not have happened."""


class StoreFull(StoreError):
    """The store refused a write because it is out of memory."""


class StoreCorrupt(StoreError):
    """A stored value is not of the form this application writes."""
