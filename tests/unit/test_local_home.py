"""The state folder, the trouble that it may give, and the fingerprints of the sources."""

import errno
import json
import os
import socket
import stat
import string
from pathlib import Path

import pytest

from mercato.local import sources
from mercato.local.home import BLOCK, BLOCKS, Home
from mercato.local.procfs import Identity, Memory
from mercato.local.server import HOST, free_port, is_free, tail
from mercato.local.supervisor import rotate
from mercato.local.trouble import Trouble, explained


def test_ports_and_secrets_are_the_same_for_ever(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    assert first.port("order") == second.port("order") != first.port("product")
    assert first.secret("demo") == second.secret("demo") != first.secret("pages")


def test_a_port_that_somebody_took_is_chosen_anew(tmp_path: Path) -> None:
    home = Home(tmp_path)
    taken, other = home.port("order"), home.port("product")
    with socket.create_server((HOST, taken)):
        assert not is_free(taken)
        home.renew_taken_ports()
        assert home.port("order") != taken
        assert home.port("product") == other


def test_no_port_is_given_twice_before_anybody_listens() -> None:
    assert len({free_port() for _ in range(400)}) == 400


def test_meshes_of_one_machine_keep_to_themselves(tmp_path: Path) -> None:
    first = Home(tmp_path / "first")
    with socket.create_server((HOST, first.port("order"))):
        others = [Home(tmp_path / f"other-{number}") for number in range(40)]
        assert not [home for home in others if {home.port("order"), home.port("product")} & {*_block_of(first)}]


def _block_of(home: Home) -> range:
    start = (home.port("order") - BLOCKS.start) // BLOCK * BLOCK + BLOCKS.start
    return range(start, start + BLOCK)


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert free_port() < lowest


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    Home(tmp_path).secret("demo")
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_secret_that_was_chosen_is_kept(tmp_path: Path) -> None:
    Home(tmp_path).keep_secret("demo", "open sesame")
    assert Home(tmp_path).secret("demo") == "open sesame"


def test_secrets_need_no_quoting_in_urls(tmp_path: Path) -> None:
    assert set(Home(tmp_path).secret("any")) <= set(string.ascii_letters + string.digits + "-_")


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Trouble, match=r"is a file where a folder is needed.*MERCATO_HOME"):
        Home(tmp_path / "home")


def test_a_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(Trouble, match=r"MERCATO_HOME|Put it right"):
        Home(Path("/proc/mercato"))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{")
    with pytest.raises(Trouble, match=r"ports\.json is damaged"):
        Home(tmp_path).port("order")


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "disk.*full.*Free some"), (errno.EROFS, "cannot be written.*MERCATO_HOME")]
)
def test_what_the_disk_says_is_told_with_what_to_do(number: int, sentence: str) -> None:
    with pytest.raises(Trouble, match=sentence), explained(Path("/some/folder")):
        raise OSError(number, os.strerror(number))


def test_a_socket_path_is_short_however_deep_the_folder(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("x" * 80) / ("y" * 80))
    assert len(os.fsencode(deep.socket)) <= 100
    assert deep.socket != Home(tmp_path / ("x" * 80) / ("z" * 80)).socket


def test_a_log_that_has_grown_is_moved_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "order.log"
    with log.open("a") as writer:
        writer.write("old\n")
        writer.flush()
        rotate(log, largest=100)
        assert log.read_text() == "old\n"
        rotate(log, largest=3)
        writer.write("new\n")
        writer.flush()
    assert (tmp_path / "order.log.1").read_text() == "old\n"
    assert log.read_text() == "new\n"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(map(str, range(100))))
    assert tail(tmp_path / "log", 2) == "98\n99"
    assert tail(tmp_path / "none") == ""


def test_the_fingerprint_follows_the_content_and_not_the_time(tmp_path: Path) -> None:
    file = tmp_path / "mercato" / "clock.py"
    file.parent.mkdir()
    file.write_text("a = 1")
    before = sources.code(tmp_path)
    os.utime(file, (1, 1))
    assert sources.code(tmp_path) == before
    file.write_text("a = 2")
    assert sources.code(tmp_path) != before


def test_what_only_the_supervisor_runs_restarts_only_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "mercato" / "local").mkdir(parents=True)
    code, chassis = sources.code(tmp_path), sources.chassis({}, tmp_path)
    (tmp_path / "mercato" / "local" / "mesh.py").write_text("a = 1")
    assert sources.code(tmp_path) == code
    assert sources.chassis({}, tmp_path) != chassis


def test_settings_of_the_mesh_belong_to_the_fingerprint_of_the_supervisor(tmp_path: Path) -> None:
    plain = sources.chassis({}, tmp_path)
    assert sources.chassis({"PATH": "/bin", "MERCATO_DEMO_PASSWORD": "open sesame"}, tmp_path) == plain
    assert sources.chassis({"MERCATO_PORT": "8081"}, tmp_path) != plain


def test_a_process_is_known_by_more_than_its_number() -> None:
    me = Identity.of(os.getpid())
    assert me
    assert me.alive
    assert not Identity(me.pid, me.started - 1).alive
    assert Identity.of(2**22 + 1) is None


def test_memory_is_counted_with_all_that_a_process_started() -> None:
    memory = Memory.of_family(os.getpid())
    assert memory.rss >= memory.pss > 2**20


def test_what_is_written_is_whole_or_not_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write("value.json", {"a": 1})
    with pytest.raises(TypeError):
        home.write("value.json", {"a": object()})
    assert json.loads((tmp_path / "value.json").read_text()) == {"a": 1}
