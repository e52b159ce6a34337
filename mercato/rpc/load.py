"""How much a process has to do, and whom it therefore refuses: the least critical first."""

from concurrent.futures import ThreadPoolExecutor

from mercato.policy import Criticality


class Load:
    """The calls that wait for a thread, against the most that may."""

    def __init__(self, pool: ThreadPoolExecutor, most: int) -> None:
        self._queue = pool._work_queue  # noqa: SLF001  the only place that knows how many wait
        self._room = {each: most * each.share for each in Criticality}

    def refuses(self, criticality: Criticality) -> bool:
        """Whether there is no room for a call of this kind any more."""
        return self._queue.qsize() >= self._room[criticality]
