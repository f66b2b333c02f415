"""What to run, and what was found."""

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.gospa.chaos.faults import faults_of
from tests.gospa.chaos.truth import Kind, Truth

ROOMS = ["lines/one", "ledger/one", "ledger/two", "shelf/one", "pool/one"]
TOGETHER = 3  # faults at most that are injected at the same time


@dataclass
class Options:
    """What to run; the same seed injects the same faults in the same order."""

    seconds: float = 20.0
    seed: int = 0
    workers: int = 2
    clients: int = 12
    callers: int = 3
    hosts: int = 1
    pace: float = 0.1
    bound: float = 30.0
    faults: Sequence[str] = ()
    disable: str = ""
    store: str = "single"

    def rng(self, purpose: str) -> random.Random:
        """Chances of their own for each purpose, so that none depends on another's timing."""
        return random.Random(f"{self.seed} {purpose}")

    def choose(self, rng: random.Random) -> list[str]:
        """The faults of the next round."""
        faults = list(self.faults) or faults_of(self.store)
        return rng.sample(faults, min(rng.randint(1, TOGETHER), len(faults)))


@dataclass
class Report:
    """What a run found."""

    options: Options
    truth: Truth
    injected: Counter[str] = field(default_factory=Counter)
    recoveries: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: list[int] = field(default_factory=list)
    counters: dict[int, dict[str, int]] = field(default_factory=dict)  # of each worker's process
    damaged: int = 0
    seconds: float = 0.0
    last: list[str] = field(default_factory=list)  # the faults of the last round

    def __str__(self) -> str:
        options, counts = self.options, self.truth.counts
        scale = (
            f"{options.hosts} x {options.workers} workers, {options.clients} clients and "
            f"{options.callers} callers of the application in {len(ROOMS)} rooms"
        )
        kinds = Counter(violation.kind for violation in self.truth.violations)
        said = [
            f"{self.seconds:.0f} s, seed {options.seed}, {options.store} store: {scale}",
            "",
            "| fault | times | mean until all agree again, s | longest, s |",
            "|---|---:|---:|---:|",
            *(
                f"| {name} | {times} | {statistics.mean(self.recoveries[name]):.2f} "
                f"| {max(self.recoveries[name]):.2f} |"
                for name, times in sorted(self.injected.items())
            ),
            "",
            "| what | how many |",
            "|---|---:|",
            *(f"| {what} | {count} |" for what, count in sorted(counts.items())),
            f"| different states shown | {self.truth.states} |",
            *self._lateness(),
            f"| messages dropped, delayed or doubled | {self.damaged} |",
            *(f"| workers' counter: {name} | {count} |" for name, count in self._sums().items()),
            f"| largest memory of a worker, MB: at first | {self.memory[0]} |",
            f"| largest memory of a worker, MB: at most | {max(self.memory)} |",
            *(f"| **{kind}** | {kinds[kind]} |" for kind in Kind),
        ]
        if self.truth.violations:
            said.append(f"in the round of {', '.join(self.last)}:")
        return "\n".join([*said, *(text for _, text in self.truth.violations[:20])])

    def _lateness(self) -> list[str]:
        """How late alarms ran, also while the store could not be had."""
        late = sorted(self.truth.lateness)
        return [
            f"| alarms ran late by at most, s: {share:.0%} of them "
            f"| {late[round(share * (len(late) - 1))]:.2f} |"
            for share in (0.5, 0.9, 0.99, 1.0)
            if late
        ]

    def _sums(self) -> Counter[str]:
        sums = Counter[str]()
        for counters in self.counters.values():
            sums.update(counters)
        return sums
