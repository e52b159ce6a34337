"""The control socket, from the side of who asks: one question and one answer, each a line of JSON."""

import json
import socket
from pathlib import Path
from typing import Any

from mercato.local.trouble import Trouble

Message = dict[str, Any]


def ask(path: Path, question: Message, within: float = 5.0) -> Message | None:
    """The supervisor's answer; None when there is no supervisor. Trouble when it answers with one."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within)
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            line = connection.makefile("rb").readline()
    except TimeoutError:
        raise Trouble(f"The supervisor did not answer within {within:.0f} s.", "Stop it: mercato down.") from None
    except OSError:
        return None
    return _understood(line)


def _understood(line: bytes) -> Message | None:
    if not line:
        return None  # it stopped while we asked
    answer: Message = json.loads(line)
    if "refused" in answer:
        raise Trouble(answer["refused"], answer["advice"])
    return answer
