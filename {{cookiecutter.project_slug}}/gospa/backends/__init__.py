"""Backends: a package each, with one module for each role that it fills.

role      contract                          a module offers
state     `gospa.store.contract.StateStore`   STATE, opened with settings and the pub/sub
pubsub    `gospa.pubsub.PubSub`               PUBSUB, opened with settings
storage   `gospa.storage.Storage`             STORAGE, opened with settings

To write a backend, make a package with these three constants, and run the conformance suites in
`tests/gospa/backends/` against it: a subclass of each, with the fixtures that it names. Its address
is a new setting, which the fixture `settings` in `gospa/testing.py` has to pass on. Only `app.py`
imports a backend.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

from gospa.settings import Settings

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Backend(Generic[P, T_co]):
    """One role of a backend."""

    open: Callable[P, AbstractAsyncContextManager[T_co]]
    """Opens it in a worker."""
    shared: bool
    """Whether all workers see the same data."""
    prepare: Callable[[Settings], AbstractContextManager[Settings]] = nullcontext
    """Holds in the main process what workers need; yields their settings. Raises SettingsError.

    Called once for each role, so a second call must find what the first one holds.
    """
