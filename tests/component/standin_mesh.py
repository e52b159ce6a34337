"""A supervisor of four small programs, for tests of the supervisor: run as a script, with the variables of a real one.

`first` needs nothing, `step` is done once after it, `second` needs both and has two slots, `last` needs `second`.
STANDIN_BREAK names one that ends at once, STANDIN_MUTE one that is never ready, STANDIN_DEAF one that ignores SIGTERM.
"""

import signal
import sys
from functools import partial

from mercato.config import LocalSettings, load, surroundings
from mercato.local import sources
from mercato.local.home import Home, default_folder
from mercato.local.part import Part, Slot, listens
from mercato.local.supervisor import Supervisor, supervise

PROGRAM = """
import os, signal, socket, sys
name, port = os.environ["STANDIN_NAME"], int(os.environ["STANDIN_PORT"])
if os.environ.get("STANDIN_BREAK") == name:
    sys.exit(f"{name} cannot find its spoon")
if os.environ.get("STANDIN_MUTE") == name:
    signal.pause()
server = socket.create_server(("127.0.0.1", port))
def stop(*_):
    print(name, "stops", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if os.environ.get("STANDIN_DEAF") == name:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(name, "starts with", os.environ.get("STANDIN_EXTRA", "nothing"), flush=True)
while True:
    server.accept()[0].close()
"""


def part(home: Home, name: str, *needs: str, slots: int = 1) -> Part:
    """A program that listens."""

    def slot(number: int) -> Slot:
        port = home.port(f"{name}.{number}")
        address = f"127.0.0.1:{port}"
        return Slot(address, partial(listens, address), {"STANDIN_NAME": name, "STANDIN_PORT": str(port)})

    command = [sys.executable, "-I", "-S", "-c", PROGRAM]
    return Part(name, lambda: command, tuple(map(slot, range(slots))), needs=needs, grace=0.5)


def main() -> None:
    """Supervise them."""
    settings = load(LocalSettings)
    home = Home(settings.home or default_folder())
    done = [sys.executable, "-c", "print('step is done')"]
    step = Part("step", lambda: done, (Slot("", lambda: True),), needs=("first",), step=True)
    second = part(home, "second", "first", "step", slots=2)
    parts = [part(home, "first"), step, second, part(home, "last", "second")]
    environment = surroundings()
    code = environment.get("STANDIN_CODE") or sources.code()
    supervise(Supervisor(home, parts, environment, code=code, chassis=sources.chassis(environment)))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
