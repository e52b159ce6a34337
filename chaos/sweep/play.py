"""Playing one case: the story is prepared, the place armed, the story goes on, the shop rests, the auditor looks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta

from auditor.mesh import Auditor
from auditor.provider import provider_log
from chaos.rest import come_to_rest
from chaos.sweep.case import Case, Outcome, Result
from chaos.sweep.control import Controls, Process
from chaos.sweep.story import STORIES, Story
from chaos.sweep.town import Town

PREPARED_AT_ONCE = 3  # a password is a tenth of a second's work
AT_ONCE = 8  # clients, where a process dies: its death is to meet many on their way
HANGS = 1.8  # seconds: longer than callers wait, and than leases last
LOOK = 0.02
LINGERS = 3.0  # seconds that what nobody waits for (a relay, a consumer) may take to come by
REST = 40.0
GRACE = timedelta(seconds=2)
MOST_TRIED = 3
_MOST_TOLD = 5


class Stage:
    """Where cases are played."""

    def __init__(self, town: Town, controls: Controls) -> None:
        self._town = town
        self._controls = controls
        home = town.home
        log = provider_log(f"http://127.0.0.1:{home.port('simulator')}", f"sk_test_{home.secret('provider')}")
        self._auditor = Auditor(town.database_url, log, GRACE)
        self._stories = {story.name: story for story in STORIES}
        self._found: set[tuple[str, str]] = set()
        self._news()  # a sweep that goes on begins with what it left

    def close(self) -> None:
        """Send the auditor home."""
        self._auditor.close()

    def rehearse(self, story: Story) -> dict[str, int]:
        """Play a story without a fault (but for that which it begins with), and note the places that it passes."""
        plot = story.plot(self._town)
        next(plot)
        come_to_rest(self._town.mesh, REST)
        self._controls.record()
        self._controls.arm(*_upset(story))
        next(plot, None)
        problems = come_to_rest(self._town.mesh, REST).unrest
        passed = self._controls.passed()
        self._controls.disarm()
        if problems := [*problems, *self._news()]:
            raise AssertionError(f"{story.name}, without any fault: {problems}")
        return dict(sorted(passed.items()))

    def play(self, case: Case) -> Result:
        """Play a case, in the first of its stories that comes by."""
        began = time.monotonic()
        came, problems = False, list[str]()
        for story in case.stories[:MOST_TRIED]:
            if not came and not problems:
                came, problems = self._acted(case, self._stories[story])
                problems += come_to_rest(self._town.mesh, REST).unrest
                problems += self._news()
        outcome = Outcome.VIOLATED if problems else Outcome.HELD if came else Outcome.MISSED
        return Result(case, outcome, time.monotonic() - began, tuple(problems[:_MOST_TOLD]))

    def _acted(self, case: Case, story: Story) -> tuple[bool, list[str]]:
        """Whether the fault has happened, and what was not as promised."""
        times = AT_ONCE if case.action == "crash" else 1
        try:
            with ThreadPoolExecutor(PREPARED_AT_ONCE) as threads:
                plots = [*threads.map(lambda _: _prepared(story, self._town), range(times))]
        except Exception as broken:  # noqa: BLE001  whatever it is, the other cases are to be played
            return False, [f"before any fault: {broken!r}"]
        with ThreadPoolExecutor(times) as threads:
            armed = self._controls.arm(*_upset(story), f"{case.place}={case.action}:{case.passing}")
            playing = [threads.submit(_play_on, plot) for plot in plots]
            came = self._watch(case, armed[-1], playing)
            problems = [problem for each in playing if (problem := each.result())]
        self._controls.disarm()
        return came, problems

    def _watch(self, case: Case, process: Process, playing: Sequence[Future[str]]) -> bool:
        """Wait for the story's end; whether its fault has happened, which is dealt with at once."""
        came, ends = False, 0.0
        while not came and time.monotonic() < (ends or time.monotonic() + 1):
            came = process.struck(case.place)
            if not wait(playing, LOOK).not_done:
                ends = ends or time.monotonic() + LINGERS
        if came and case.action == "hang":
            time.sleep(HANGS)
            self._controls.disarm()
        if came and case.action == "crash":
            # The supervisor does it too, but later each time: it takes what falls often to be ill.
            self._town.mesh.restart(case.service)
        wait(playing)
        return came

    def _news(self) -> list[str]:
        """What the auditor finds that was not there before: a case answers for itself only."""
        found = {(finding.rule, finding.id): str(finding) for finding in self._auditor.audit().findings}
        news = [text for key, text in found.items() if key not in self._found]
        self._found |= found.keys()
        return news


def _upset(story: Story) -> tuple[str, ...]:
    return (f"{story.upset}=lose",) if story.upset else ()


def _prepared(story: Story, town: Town) -> Iterator[None]:
    plot = story.plot(town)
    next(plot)
    return plot


def _play_on(plot: Iterator[None]) -> str:
    """Play to the end; what was not as promised."""
    try:
        next(plot, None)
    except Exception as broken:  # noqa: BLE001  whatever a story meets is what the case came to
        return f"{type(broken).__name__}: {broken}"
    return ""
