"""Trouble on this machine: what a person is told when something is in the way, and what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Trouble(Exception):
    """Something is in the way: one sentence, and what to do."""

    def __init__(self, sentence: str, advice: str = "") -> None:
        """Keep both, so that each may be shown in its own way."""
        super().__init__(f"{sentence} {advice}".strip())
        self.sentence = sentence
        self.advice = advice


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system says about a path of the state folder into trouble that one understands."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise Trouble(f"{path} is a file where a folder is needed.", _ELSEWHERE) from error
    except PermissionError as error:
        raise Trouble(f"{path} may not be written by you.", f"Give yourself access. {_ELSEWHERE}") from error
    except OSError as error:
        raise _of(error, path) from error


_ELSEWHERE = "Remove it, or name another state folder: MERCATO_HOME=/some/folder."


def _of(error: OSError, path: Path) -> Trouble:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Trouble(f"The disk that holds {path} is full.", "Free some space and try again; nothing is lost.")
        case errno.EROFS:
            return Trouble(f"{path} lies on a disk that cannot be written.", "Name another: MERCATO_HOME=/some/folder.")
        case _:
            return Trouble(f"{path}: {error.strerror or error}.", "Put it right and try again.")
