"""Metrics as Prometheus reads them: the only place that knows its library, imported once somebody asks."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import assert_never

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from taskwatch.server.family import Family, Kind


class Exposition(Collector):
    """Writes what it is shown, and what Linux says of this process; one text at a time."""

    def __init__(self) -> None:
        self._shown: Iterable[Family] = ()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self, shown: Iterable[Family]) -> bytes:
        """Return it as text. Blocks for as long as that takes: some thousands of lines need some ten milliseconds."""
        self._shown = shown
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._shown)


def _metric(family: Family) -> Metric:
    match family.kind:
        case Kind.GAUGE:
            gauge = GaugeMetricFamily(family.name, family.text, labels=family.labels)
            for values, number in family.samples.items():
                gauge.add_metric(values, number)
            return gauge
        case Kind.COUNTER:
            counter = CounterMetricFamily(family.name, family.text, labels=family.labels)
            for values, number in family.samples.items():
                counter.add_metric(values, number)
            return counter
        case Kind.HISTOGRAM:
            bounds = [bound for (bound,) in family.samples]
            counts = accumulate(family.samples.values())
            buckets = list(zip(bounds, counts, strict=True))
            return HistogramMetricFamily(family.name, family.text, buckets=buckets, sum_value=family.sum)
        case _:
            assert_never(family.kind)
