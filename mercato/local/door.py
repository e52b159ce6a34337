"""A listening socket that the supervisor keeps for a part, so that none is refused while processes come and go.

Two sockets at one port would not do: what waits in the queue of the one that closes is lost. Here is one queue, and
whichever processes of the part are up take from it; what comes while there is none waits for the next.
"""

import os
import socket

from mercato.local.trouble import Trouble

BACKLOG = 1024


class Door:
    """Where a part is reached: `host:port`, and the environment variable that tells its processes the open socket."""

    def __init__(self, address: str, variable: str) -> None:
        """Nothing is opened yet."""
        self.address = address
        self.variable = variable
        self._socket: socket.socket | None = None

    def open(self) -> int:
        """The socket's descriptor, for a child to inherit. Trouble when somebody else has the port."""
        if self._socket is None:
            host, _, port = self.address.rpartition(":")
            try:
                self._socket = socket.create_server((host, int(port)), backlog=BACKLOG)
            except OSError as problem:
                raise Trouble(
                    f"Cannot listen at {self.address}: {os.strerror(problem.errno or 0)}.",
                    "Stop what uses it, or choose another port: MERCATO_PORT=8090 mercato up.",
                ) from None
        return self._socket.fileno()

    def close(self) -> None:
        """Refuse whoever comes: nobody is there to answer."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
