"""Samples and what they come to: medians, and medians of ratios taken within a round."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure. Samples of one `round` were taken right after each other."""

    measure: str
    case: str
    metric: str
    subject: str
    round: int
    value: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one or more figures."""
        return cls(median(values), min(values), max(values))


class Figures:
    """All samples of a run of the bench."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def where(self, **wanted: str) -> list[Sample]:
        """Samples with these attributes."""
        return [
            sample
            for sample in self.samples
            if all(getattr(sample, name) == value for name, value in wanted.items())
        ]

    def names(self, of: Callable[[Sample], str], **wanted: str) -> list[str]:
        """The different values of an attribute, in the order in which they first came."""
        return list(dict.fromkeys(of(sample) for sample in self.where(**wanted)))

    def spread(self, **wanted: str) -> Spread | None:
        """The spread of these samples, or None if there are none."""
        values = [sample.value for sample in self.where(**wanted)]
        return Spread.of(values) if values else None

    def ratio(self, subject: str, other: str, **wanted: str) -> Spread | None:
        """The spread of subject / other, over the rounds that have both."""
        ours = {s.round: s.value for s in self.where(subject=subject, **wanted)}
        theirs = {s.round: s.value for s in self.where(subject=other, **wanted)}
        ratios = [ours[r] / theirs[r] for r in ours if theirs.get(r)]
        return Spread.of(ratios) if ratios else None
