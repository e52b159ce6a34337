"""The supervisor, with small programs in place of the real ones."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mercato.local import control
from mercato.local.mesh import Mesh, Report
from mercato.local.part import State
from mercato.local.procfs import Identity
from mercato.local.trouble import Trouble

SCRIPT = Path(__file__).with_name("standin_mesh.py")


def standin_mesh(folder: Path, **environment: str) -> Mesh:
    given = {"MERCATO_PORT": "0", "MERCATO_KAFKA_BOOTSTRAP": "127.0.0.1:1", **environment}
    return Mesh(folder, environment=given, follow=True, supervisor=[str(SCRIPT)])


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = standin_mesh(tmp_path / "home")
    yield mesh
    mesh.down()


def reports(mesh: Mesh) -> dict[str, Report]:
    return {report.name: report for report in mesh.reports()}


def pids(mesh: Mesh) -> dict[str, int | None]:
    return {report.name: report.pid for report in mesh.reports()}


def eventually(law: Callable[[], bool], within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not law():
        assert time.monotonic() < deadline, "it never came true"
        os.sched_yield()


def alive(processes: dict[str, int | None]) -> set[str]:
    return {name for name, pid in processes.items() if pid is not None and Identity.of(pid)}


def supervisor_of(mesh: Mesh) -> int:
    answer = control.ask(mesh.home.socket, {"do": "status"})
    assert answer
    return int(answer["pid"])


def test_up_returns_when_all_is_ready_and_down_leaves_nothing(mesh: Mesh) -> None:
    assert mesh.up()
    up = reports(mesh)
    assert list(up) == ["first", "second", "last"]
    assert {report.state for report in up.values()} == {State.READY}
    running = pids(mesh)
    assert mesh.down()
    assert alive(running) == set()
    assert mesh.reports() == []
    assert not mesh.down()


def test_nothing_starts_before_what_it_needs_is_ready(mesh: Mesh) -> None:
    mesh.up()
    started = [Identity.of(pid) for pid in pids(mesh).values() if pid]
    assert [each.started for each in started if each] == sorted(each.started for each in started if each)
    assert "step is done" in mesh.home.log("step").read_text()


def test_a_second_up_does_nothing(mesh: Mesh) -> None:
    mesh.up()
    before = pids(mesh)
    assert not mesh.up()
    assert pids(mesh) == before


def test_ports_are_the_same_after_down_and_up(mesh: Mesh) -> None:
    mesh.up()
    before = {name: report.address for name, report in reports(mesh).items()}
    mesh.down()
    mesh.up()
    assert {name: report.address for name, report in reports(mesh).items()} == before


def test_a_process_that_dies_is_started_again(mesh: Mesh) -> None:
    mesh.up()
    before = mesh.report("first")
    mesh.kill("first")
    eventually(lambda: mesh.report("first").restarts == 1 and mesh.report("first").state is State.READY)
    assert mesh.report("first").pid != before.pid
    assert mesh.report("first").address == before.address


def test_a_restart_starts_the_new_process_before_it_drains_the_old_one(mesh: Mesh) -> None:
    mesh.up()
    before = mesh.report("second")
    mesh.home.log("second").write_text("")
    mesh.restart("second")
    after = mesh.report("second")
    assert after.pid != before.pid
    assert after.address != before.address
    assert mesh.home.log("second").read_text().splitlines() == ["second starts with nothing", "second stops"]
    mesh.restart("second")
    assert mesh.report("second").address == before.address


def test_what_is_added_to_the_environment_holds_for_one_process_only(mesh: Mesh) -> None:
    mesh.up()
    mesh.home.log("second").write_text("")
    mesh.restart("second", {"STANDIN_EXTRA": "a failpoint"})
    mesh.kill("second")
    eventually(lambda: mesh.home.log("second").read_text().count("starts") == 2)
    starts = [line for line in mesh.home.log("second").read_text().splitlines() if "starts" in line]
    assert starts == ["second starts with a failpoint", "second starts with nothing"]


def test_a_part_that_was_stopped_stays_stopped_until_it_is_started(mesh: Mesh) -> None:
    mesh.up()
    mesh.stop("second")
    assert mesh.report("second").state is State.STOPPED
    assert mesh.report("second").pid is None
    assert mesh.report("last").state is State.READY
    mesh.start("second")
    assert mesh.report("second").state is State.READY


def test_up_starts_what_was_stopped(mesh: Mesh) -> None:
    mesh.up()
    mesh.stop("second")
    assert mesh.up()
    assert mesh.report("second").state is State.READY


def test_unknown_names_are_told(mesh: Mesh) -> None:
    mesh.up()
    with pytest.raises(Trouble, match="There are: first, second, last"):
        mesh.stop("third")


def test_a_process_that_cannot_start_ends_up_with_its_last_words(tmp_path: Path) -> None:
    mesh = standin_mesh(tmp_path, STANDIN_BREAK="second")
    with pytest.raises(Trouble, match="cannot find its spoon"):
        mesh.up()
    assert mesh.reports() == []


def test_a_process_that_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    mesh = standin_mesh(tmp_path, STANDIN_DEAF="second")
    mesh.up()
    running = pids(mesh)
    mesh.down()
    assert alive(running) == set()


def test_nothing_is_left_of_a_start_that_was_interrupted(tmp_path: Path) -> None:
    start = (
        "import signal, sys; from pathlib import Path; from mercato.local.mesh import Mesh\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever started us may have ruled it out
        "given = {'MERCATO_PORT': '0', 'MERCATO_KAFKA_BOOTSTRAP': 'x:1', 'STANDIN_MUTE': 'last'}\n"
        "Mesh(Path(sys.argv[1]), environment=given, supervisor=[sys.argv[2]]).up()\n"
    )
    seen = standin_mesh(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path), str(SCRIPT)], stderr=subprocess.PIPE
    ) as starting:
        eventually(lambda: len(alive(pids(seen))) == 3)
        running = pids(seen)
        starting.send_signal(signal.SIGINT)
        starting.communicate()
    assert alive(running) == set()
    assert seen.reports() == []


def test_everything_ends_when_the_supervisor_is_killed(mesh: Mesh) -> None:
    mesh.up()
    running = pids(mesh)
    os.kill(supervisor_of(mesh), signal.SIGKILL)
    eventually(lambda: not alive(running))
    assert "first stops" in mesh.home.log("first").read_text()


def test_up_after_a_crash_of_the_supervisor_cleans_up_and_starts_anew(tmp_path: Path) -> None:
    mesh = standin_mesh(tmp_path, STANDIN_DEAF="second")
    mesh.up()
    running = pids(mesh)
    os.kill(supervisor_of(mesh), signal.SIGKILL)
    assert mesh.up()
    assert alive(running) == set()
    assert {report.state for report in mesh.reports()} == {State.READY}
    mesh.down()


def test_other_code_restarts_what_runs(tmp_path: Path) -> None:
    mesh = standin_mesh(tmp_path, STANDIN_CODE="older")
    mesh.up()
    before = pids(mesh)
    assert mesh.up()
    assert not set(pids(mesh).values()) & set(before.values())
    assert not mesh.up()
    mesh.down()


def test_other_settings_restart_the_supervisor(tmp_path: Path) -> None:
    plain, wordy = standin_mesh(tmp_path), standin_mesh(tmp_path, MERCATO_LOG_LEVEL="debug")
    plain.up()
    before = supervisor_of(plain)
    assert wordy.up()
    assert supervisor_of(wordy) != before
    wordy.down()
    plain.down()


def test_a_taken_port_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Trouble, match=f"Port {port} is in use.*MERCATO_PORT={port + 1}"):
            standin_mesh(tmp_path, MERCATO_PORT=str(port)).up()


def test_a_deep_state_folder_has_a_short_socket(tmp_path: Path) -> None:
    mesh = standin_mesh(tmp_path / ("deep" * 10) / ("deeper" * 10))
    mesh.up()
    assert len(os.fsencode(mesh.home.socket)) < 100
    mesh.down()
    assert not mesh.home.socket.exists()


def test_a_mesh_that_follows_ends_with_its_test(tmp_path: Path) -> None:
    test = (
        "import signal, sys; from pathlib import Path; from mercato.local.mesh import Mesh\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever started us may have ruled it out
        "given = {'MERCATO_PORT': '0', 'MERCATO_KAFKA_BOOTSTRAP': 'x:1'}\n"
        "mesh = Mesh(Path(sys.argv[1]), environment=given, follow=True, supervisor=[sys.argv[2]])\n"
        "mesh.up(); print(*(report.pid for report in mesh.reports()))\n"
    )
    done = subprocess.run([sys.executable, "-c", test, str(tmp_path), str(SCRIPT)], capture_output=True, check=True)
    running = {pid: int(pid) for pid in done.stdout.decode().split()}
    assert len(running) == 3
    eventually(lambda: not alive(dict(running)))
