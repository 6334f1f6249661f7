"""A metric with its series, as a plain value: what it is called, what it means, and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from taskwatch.engine.tally import Histogram

Samples = dict[tuple[str, ...], float]


class Kind(StrEnum):
    """A type of Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric with all its series."""

    name: str
    kind: Kind
    text: str  # what it means
    labels: tuple[str, ...] = ()
    samples: Samples  # by the values of the labels; of a histogram by the bound, not cumulated
    sum: float = 0.0  # of a histogram


def gauge(name: str, text: str, samples: Samples, *labels: str) -> Family:
    return Family(name=f"taskwatch_{name}", kind=Kind.GAUGE, text=text, labels=labels, samples=samples)


def counter(name: str, text: str, samples: Samples, *labels: str) -> Family:
    return Family(name=f"taskwatch_{name}", kind=Kind.COUNTER, text=text, labels=labels, samples=samples)


def histogram(name: str, text: str, histogram: Histogram) -> Family:
    bounds: Sequence[str] = [*map(str, histogram.bounds), "+Inf"]
    samples: Samples = {(bound,): count for bound, count in zip(bounds, histogram.counts, strict=True)}
    return Family(
        name=f"taskwatch_{name}", kind=Kind.HISTOGRAM, text=text, samples=samples, sum=histogram.sum
    )
