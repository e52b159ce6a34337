"""The command line: what it teaches, what it loads, what it prints."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mercato.auth import Verifier
from mercato.cli.app import app
from mercato.cli.contracts import events, services
from mercato.cli.keys import rotate_keys
from mercato.cli.logs import Growing
from mercato.cli.token import sign
from mercato.cli.up import Display
from mercato.keys import create_keys
from mercato.local.mesh import Report
from mercato.local.part import State
from mercato.local.trouble import Trouble

COMMANDS = [
    "up",
    "down",
    "status",
    "logs",
    "stop",
    "start",
    "restart",
    "seed",
    "demo",
    "migrate",
    "token",
    "routes",
    "events",
    "keys",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_its_use(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4


def test_bare_mercato_shows_the_commands() -> None:
    result = CliRunner().invoke(app, [])
    assert all(command in result.output for command in COMMANDS)


def test_looking_whether_all_runs_loads_no_service_library() -> None:
    program = "import sys, mercato.cli.app, mercato.cli.up; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"grpc", "psycopg", "confluent_kafka", "asyncio", "google.protobuf", "jgo", "requests", "pydantic"}
    assert heavy & set(done.stdout.split()) == set()


def test_trouble_is_one_sentence_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    command = [sys.executable, "-c", "from mercato.cli import main; main()", "down"]
    environment = {"MERCATO_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first == f"mercato: {tmp_path / 'home'} is a file where a folder is needed."
    assert "MERCATO_HOME" in second


def test_a_download_that_fails_is_told_with_what_to_do(tmp_path: Path) -> None:
    environment = {"HTTPS_PROXY": "http://127.0.0.1:1", "XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    program = "from mercato.local import jars; jars.fetch()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert "could not be fetched from Maven's repository: [Errno 111] Connection refused. Check the network" in told


def test_contracts_are_found_without_a_list_of_them() -> None:
    assert {"mercato.api.order.v1.OrderPlaced", "mercato.api.user.v1.UserErased"} <= events().keys()
    assert {"OrderService", "ProductService"} <= {service.name for service in services()}


def test_a_token_of_the_operator_is_one_that_services_take(tmp_path: Path) -> None:
    create_keys(tmp_path, ["operator"])
    verified = Verifier(tmp_path, "product").verify(sign(tmp_path, "product", "catalog, admin", "somebody"))
    assert (verified.service, verified.principal.subject) == ("operator", "somebody")
    assert verified.principal.roles == {"catalog", "admin"}


def test_without_keys_the_way_to_them_is_told(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="Make the keys: mercato up"):
        sign(tmp_path, "product", "", "")


def test_keys_of_nobody_are_not_rotated(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="anybody"):
        rotate_keys(tmp_path, [])
    create_keys(tmp_path, ["order"])
    with pytest.raises(Trouble, match="no keys of bakery"):
        rotate_keys(tmp_path, ["bakery"])


def test_a_growing_log_gives_whole_lines_once_and_survives_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "order.log"
    path.write_text("before\n")
    log = Growing(path)
    with path.open("a") as file:
        file.write("first\nsec")
        file.flush()
        assert log.more() == ["first"]
        assert log.more() == []
        file.write("ond\n")
    assert log.more() == ["second"]
    path.write_text("new\n")
    assert log.more() == ["new"]


def test_a_start_is_told_line_by_line(tmp_path: Path) -> None:
    output = io.StringIO()
    with Display(Console(file=output, width=80)) as display:
        display.reported([_report("order", State.STARTING), _report("kafka", State.READY)])
        display.reported([_report("order", State.READY), _report("kafka", State.READY)])
    assert [line.split()[0] for line in output.getvalue().splitlines()] == ["kafka", "order"]


def _report(name: str, state: State) -> Report:
    return Report(name, 1, state, "127.0.0.1:1", "SERVING", 0, 0.5, "", False)
