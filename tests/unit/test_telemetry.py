"""Metrics."""

import urllib.request

from mercato import telemetry
from mercato.testing import at_once


def test_counting_from_many_threads_loses_nothing() -> None:
    counter = telemetry.Counter("test_counted", "Counted.", ("what",))

    def count() -> None:
        for _ in range(1000):
            counter.add("x")

    at_once(count, times=8)
    assert counter.value("x") == 8000


def test_a_scrape_shows_what_was_measured() -> None:
    telemetry.Counter("test_calls", "Calls.", ("rpc",)).add("Read")
    telemetry.Gauge("test_depth", "Depth.", read=lambda: 3).add()
    seconds = telemetry.Histogram("test_seconds", "Seconds.", ("rpc",))
    for each in (0.0005, 0.02, 99.0):
        seconds.observe(each, "Read")
    stop, address = telemetry.serve("127.0.0.1:0")
    try:
        page = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    finally:
        stop()
    assert 'test_calls_total{rpc="Read"} 1.0' in page
    assert "test_depth 3.0" in page
    assert 'test_seconds_bucket{le="0.025",rpc="Read"} 2.0' in page
    assert 'test_seconds_count{rpc="Read"} 3.0' in page
    assert "process_resident_memory_bytes" in page
