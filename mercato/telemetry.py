"""Metrics: counted in this process at the price of a lock, turned into Prometheus' form when somebody asks.

`prometheus_client` takes long to import and nobody scrapes a process in its first second, so the hot path does not know
it: `serve` imports it when the metrics port opens.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_metrics: list["Metric"] = []


class Metric:
    """Something measured, by the values of its labels."""

    def __init__(self, name: str, help_text: str, labels: Iterable[str] = ()) -> None:
        self.name = name
        self.help = help_text
        self.labels = tuple(labels)
        self._lock = threading.Lock()
        _metrics.append(self)

    def family(self) -> Any:
        """The metric in Prometheus' form."""
        raise NotImplementedError


class Counter(Metric):
    """What only grows."""

    def __init__(self, name: str, help_text: str, labels: Iterable[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def value(self, *labels: str) -> float:
        """What was counted so far."""
        return self._values.get(labels, 0.0)

    def family(self) -> Any:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        return family


class Gauge(Counter):
    """What goes up and down, or is read from somewhere when asked for."""

    def __init__(
        self, name: str, help_text: str, labels: Iterable[str] = (), read: Callable[[], float] | None = None
    ) -> None:
        super().__init__(name, help_text, labels)
        self._read = read

    def set(self, value: float, *labels: str) -> None:
        """Say what it is now."""
        with self._lock:
            self._values[labels] = value

    def family(self) -> Any:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        values = {(): self._read()} if self._read else self._values
        for labels, value in list(values.items()):
            family.add_metric(labels, value)
        return family


class Histogram(Metric):
    """Durations in seconds, by bucket."""

    def __init__(self, name: str, help_text: str, labels: Iterable[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count one duration."""
        with self._lock:
            if labels not in self._counts:
                self._counts[labels], self._sums[labels] = [0] * (len(BUCKETS) + 1), 0.0
            self._counts[labels][bisect_left(BUCKETS, seconds)] += 1
            self._sums[labels] += seconds

    def count(self, *labels: str) -> int:
        """How many were counted so far."""
        return sum(self._counts.get(labels, ()))

    def family(self) -> Any:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        with self._lock:
            counted = [(labels, list(counts), self._sums[labels]) for labels, counts in self._counts.items()]
        for labels, counts, total in counted:
            family.add_metric(labels, list(_cumulative(counts)), total)
        return family


def _cumulative(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        total += count
        yield bound, float(total)


class _Everything:
    """All metrics of this process, as a collector."""

    def collect(self) -> Iterator[Any]:
        """The families."""
        return (metric.family() for metric in list(_metrics))


def serve(address: str) -> tuple[Callable[[], None], str]:
    """Answer scrapes at `host:port`; returns what stops it, and the address with the port that was taken."""
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.gc_collector import GCCollector
    from prometheus_client.process_collector import ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Everything())
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop, f"{host}:{server.server_port}"
