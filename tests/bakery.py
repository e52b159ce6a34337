"""A process for tests of the runtime: the probe's servicer, and a worker that counts how often it was asked."""

import threading
from typing import Any

from mercato.config import config, duration, var
from mercato.runtime import Process, Stack, every, run
from tests.probe import Probe


@config(prefix="MERCATO_BAKERY")
class BakeryConfig:
    """How long an answer takes."""

    bakes: Any = var(default="0s", converter=duration)
    broken: str = var(default="")


def build(settings: BakeryConfig, stack: Stack) -> Process:
    """Wire the bakery."""
    if settings.broken:
        raise ValueError(settings.broken)
    asked: list[int] = []

    def answer(request: Any) -> object:
        threading.Event().wait(settings.bakes.total_seconds())
        return f"{request.text} {len(asked)}"

    def note() -> bool:
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("the first batch burns")
        return False

    return Process(
        servicers=[Probe(answer)],
        workers=[every(0.01, note, "oven")],
        closers=[lambda: print('{"event":"closed"}', flush=True)],
    )


if __name__ == "__main__":
    run(build, BakeryConfig)
