"""Has Java write down what Kafka loads, once for this user: the broker then starts in half the time.

Run by the supervisor when everything is ready (`python -m mercato.local.training`), while the processor is idle.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mercato.local import jars
from mercato.local.kafka import Kafka
from mercato.local.server import free_port, wrapped

PATIENCE = 300.0


def command() -> list[str] | None:
    """How to train in a process of its own; None where it is done already."""
    return None if jars.class_cache().exists() else [sys.executable, "-m", "mercato.local.training"]


def train() -> None:
    """Run a broker of its own from start to end, and keep what Java learns."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was begun is cleaned up
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with tempfile.TemporaryDirectory(prefix="mercato-") as folder, jars.locked():
        if jars.class_cache().exists():
            return
        new = jars.class_cache().with_suffix(".new")
        kafka = Kafka(Path(folder), free_port(), options=(f"-XX:AOTCacheOutput={new}", "-Xlog:disable"))
        kafka.prepare()
        _run(kafka)
        if new.exists():
            new.rename(jars.class_cache())


def _run(kafka: Kafka) -> None:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(wrapped(kafka.command(), signal.SIGKILL), stdout=quiet, stderr=quiet)
    deadline = time.monotonic() + PATIENCE
    try:
        while not kafka.ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.terminate()
        process.wait(PATIENCE)  # it writes at its end
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    train()
