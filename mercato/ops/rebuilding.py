"""Rebuilds of projections that were asked for from afar: begun at once, done on a thread of their own."""

import threading
from dataclasses import dataclass

from mercato import log
from mercato.errors import MercatoError
from mercato.projection import Projections, ProjectionStatus, UnknownProjection

_log = log.get(__name__)


@dataclass(slots=True)
class Course:
    """How far a rebuild has come: events read, of how many; and why it failed, if it did."""

    done: int = 0
    total: int = 0
    problem: str = ""
    ended: bool = False

    def progress(self, done: int, total: int) -> None:
        """It has come so far."""
        self.done, self.total = done, total


class Rebuilding:
    """The rebuilds that this process does."""

    def __init__(self, projections: Projections | None) -> None:
        self._projections = projections
        self._courses: dict[str, Course] = {}
        self._lock = threading.Lock()

    def status(self) -> list[tuple[ProjectionStatus, Course]]:
        """How each projection does, and how far its last rebuild from here came."""
        found = self._projections.status() if self._projections else []
        return [(each, self._courses.get(each.name, Course(ended=True))) for each in found]

    def begin(self, name: str) -> tuple[ProjectionStatus, Course]:
        """Begin to rebuild one, unless this process is at it. UnknownProjection."""
        if not self._projections or name not in self._projections.names():
            raise UnknownProjection(f"no projection is called {name!r}")
        with self._lock:
            if (course := self._courses.get(name)) is None or course.ended:
                course = self._courses[name] = Course()
                threading.Thread(target=self._rebuild, args=[name, course], name=f"rebuild-{name}", daemon=True).start()
        status = next(each for each in self._projections.status() if each.name == name)
        return status, course

    def _rebuild(self, name: str, course: Course) -> None:
        assert self._projections
        try:
            self._projections.rebuild(name, course.progress)
        except MercatoError as trouble:
            course.problem = trouble.message
        except Exception:  # noqa: BLE001  whoever looks is told, the log has the rest
            _log.exception("projection.rebuild_failed", projection=name)
            course.problem = "it failed for a reason that the log tells"
        finally:
            course.ended = True
