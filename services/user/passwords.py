"""Passwords: argon2id in a queue of limited length, so that sign-ins cannot starve everything else.

Parameters by the OWASP password storage sheet: t=2, m=19 MiB, p=1.
"""

from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Semaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from mercato.errors import Overloaded
from mercato.rpc import current_call
from services.user.domain import PasswordTooCommon

_LEAST = 8  # shorter ones are refused for their length
_LIST = '    "passwords": "'
_WORTH = 0.2  # seconds that a caller must still have: for one who is gone before the end, nobody need begin


def _common() -> frozenset[str]:
    """The passwords that many have, of zxcvbn's list.

    One line of its file is read: with the package come the ranks of all words of all its lists, 12 MB for as long as
    the process lives.
    """
    package = find_spec("zxcvbn")
    assert package
    assert package.origin
    with Path(package.origin).with_name("frequency_lists.py").open(encoding="utf-8") as lists:
        (line,) = (line for line in lists if line.startswith(_LIST))
    words = line.removeprefix(_LIST).partition('"')[0].split(",")
    return frozenset(word for word in words if len(word) >= _LEAST)


_COMMON = _common()


class Passwords:
    """Hashes passwords and checks them, a few at a time."""

    def __init__(self, at_once: int, queue: int, *, time_cost: int = 2, memory_kib: int = 19_456) -> None:
        """Hash `at_once` passwords in parallel while at most `queue` callers wait."""
        self._argon2 = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._working = Semaphore(at_once)
        self._room = BoundedSemaphore(at_once + queue)
        # Unknown users cost the same work as known ones.
        self._nobodys = self._argon2.hash("nobody has this password")

    def choose(self, password: str, field: str) -> str:
        """The hash of a password that somebody chose. PasswordTooCommon, Overloaded."""
        if password.lower() in _COMMON:
            raise PasswordTooCommon.at(field)
        return self.hash(password)

    def hash(self, password: str) -> str:
        """The hash of a password, whatever it is worth. Overloaded."""
        with self.turn():
            return self._argon2.hash(password)

    def match(self, password: str, known: str | None) -> bool:
        """Whether the password is the one behind the hash; without a hash, False after the same time. Overloaded."""
        with self.turn():
            try:
                self._argon2.verify(known or self._nobodys, password)
            except (VerifyMismatchError, InvalidHashError):
                return False
        return known is not None

    def outdated(self, known: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(known)

    def turn(self) -> "Turn":
        """The right to hash, while the block lasts. Overloaded if too many wait for it."""
        return Turn(self._room, self._working)


class Turn:
    """A place in the queue, then a hasher, for those who will still be there to hear of it.

    Without that, once there is more to do than can be done, every hash would be for somebody who has just left, and who
    asks again.
    """

    def __init__(self, room: BoundedSemaphore, working: Semaphore) -> None:
        self._room, self._working = room, working

    def __enter__(self) -> None:
        if not self._room.acquire(blocking=False):
            raise _too_many()
        remaining = current_call().remaining
        if not self._working.acquire(timeout=None if remaining is None else max(0.0, remaining - _WORTH)):
            self._room.release()
            raise _too_many()

    def __exit__(self, *_: object) -> None:
        self._working.release()
        self._room.release()


def _too_many() -> Overloaded:
    return Overloaded("too many people are signing in; try again shortly").after(1)
