"""A sweep: which cases are wanted, which of them were played already, and how far it has come."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chaos.sweep.case import ACTIONS, Case, Outcome, Result, cases_of, slice_of
from chaos.sweep.control import Controls
from chaos.sweep.memory import Memory
from chaos.sweep.play import Stage
from chaos.sweep.story import STORIES, Story
from chaos.sweep.town import Town

CASES_OF_A_STORY = 3  # in a slice: rehearsing them all would take longer than the slice itself
UPSET = {story.name for story in STORIES if story.upset}


class Sweep:
    """One sweep, or the rest of one."""

    def __init__(self, told: argparse.Namespace, console: Console, rooms: ExitStack) -> None:
        self._told = told
        self._console = console
        folder = told.folder
        if told.slice:
            folder = Path(rooms.enter_context(tempfile.TemporaryDirectory(prefix="sweep-")))
        self._memory = Memory(folder)
        if told.fresh:
            self._memory.forget()
            shutil.rmtree(folder / "mesh", ignore_errors=True)
        # A folder of its own, for a socket's path may not be long.
        controls = Path(rooms.enter_context(tempfile.TemporaryDirectory(prefix="failpoints-")))
        town = rooms.enter_context(Town(folder / "mesh", console, {"MERCATO_FAILPOINT_FOLDER": str(controls)}))
        self._stage = rooms.enter_context(closing(Stage(town, Controls(controls))))

    def run(self) -> list[Result]:
        """Play all cases that are wanted and were not played yet; the results of all that are wanted."""
        dice = random.Random(self._told.seed)  # noqa: S311  a choice, no secret
        recorded = self._recorded(self._stories(dice))
        wanted = [
            case for case in cases_of(recorded, UPSET, self._told.action or ACTIONS) if self._told.only in case.place
        ]
        if self._told.slice:
            wanted = slice_of(wanted, self._told.slice, dice)
        known = {result.case: result for result in self._memory.played()}
        left = [case for case in wanted if case not in known]
        if len(left) < len(wanted):
            self._console.print(f"{len(wanted) - len(left)} of {len(wanted)} cases were played before.")
        known |= {result.case: result for result in self._play(left)}
        return [known[case] for case in wanted if case in known]

    def _stories(self, dice: random.Random) -> list[Story]:
        stories = [story for story in STORIES if self._told.story in story.name]
        if not self._told.slice:
            return stories
        chosen = dice.sample(stories, min(-(-self._told.slice // CASES_OF_A_STORY), len(stories)))
        return [story for story in stories if story in chosen]

    def _recorded(self, stories: Sequence[Story]) -> dict[str, dict[str, int]]:
        known = {name: dict(places) for name, places in self._memory.names().items()}
        with self._bar("rehearsing", len(stories)) as bar:
            for story in bar.track(stories):
                if story.name not in known:
                    known[story.name] = self._stage.rehearse(story)
                    self._memory.keep_names(known)
        return {story.name: known[story.name] for story in stories}

    def _play(self, cases: Sequence[Case]) -> list[Result]:
        results = list[Result]()
        with self._bar("sweeping", len(cases)) as bar:
            task = bar.add_task("", total=len(cases))
            for case in cases:
                bar.update(task, description=str(case)[:90])
                result = self._stage.play(case)
                self._memory.keep(result)
                results.append(result)
                bar.advance(task)
                if result.outcome is Outcome.VIOLATED:
                    bar.console.print(f"VIOLATED {case}: {'; '.join(result.problems)[:500]}", markup=False)
        return results

    def _bar(self, name: str, total: int) -> Progress:
        self._console.print(f"{name}: {total}")
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        return Progress(
            BarColumn(20), MofNCompleteColumn(), *times, TextColumn("{task.description}"), console=self._console
        )
