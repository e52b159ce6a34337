"""Redis that is not there, or does not answer."""

import socket
import time

import pytest
from redis.exceptions import ConnectionError as NotThere
from redis.exceptions import TimeoutError as NoAnswer

from mercato.cache import connect


def test_a_server_that_never_answers_is_given_up_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        with pytest.raises(NoAnswer):
            client.get("x")
        assert time.monotonic() - began < 10
        client.close()


def test_a_server_that_is_not_there_is_given_up_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    client = connect(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(NotThere):
        client.get("x")
    client.close()
