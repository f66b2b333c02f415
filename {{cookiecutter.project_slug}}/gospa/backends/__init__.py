"""Backends: each is a package with a module for each role that it fills.

role      contract                          a module offers
state     `gospa.store.contract.StateStore`   STATE, opened with settings and the pub/sub
pubsub    `gospa.pubsub.PubSub`               PUBSUB, opened with settings
storage   `gospa.storage.Storage`             STORAGE, opened with settings

To write a backend, make a package with the constants of the roles that it fills, and import them in
`app.py`; no other module may. Run the conformance suites in `tests/gospa/backends/` against it: a
subclass of each, with the fixtures that its docstring names, as in `tests/gospa/backends/memory/`.
`StateStoreConformance` includes the suite of the index of alarms. `StateStore.commit` stores and
publishes in one atomic step, so a state store on another server needs a pub/sub role there as well.
Its address is a new setting, which the fixture `settings` in `gospa/testing.py` has to pass on.
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
    """Opens the role in a worker."""
    shared: bool
    """Whether all workers see the same data."""
    prepare: Callable[[Settings], AbstractContextManager[Settings]] = nullcontext
    """Opens resources in the main process that workers need, such as a server; yields the workers'
    settings. Raises SettingsError.

    Called once for each role, so a second call must find the resources of the first one.
    """
