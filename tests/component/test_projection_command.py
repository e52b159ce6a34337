"""What a service's program does when it is asked about its read models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mercato.ids import uuid7
from mercato.keys import create_keys
from mercato.postgres import Database
from mercato.projection.command import perform
from mercato.testing import CALLERS, SIGNERS
from services.order.projections import projections
from tests.histories import GOOD_WAY, happen, history_of
from tests.servers import FreshDatabase


def test_a_projection_is_listed_rebuilt_and_verified(
    order_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    known = projections(order_database)
    for _ in range(3):
        happen(order_database, history_of(uuid7(), GOOD_WAY))
    assert perform(known, ["rebuild", "order.history"]) == 0
    assert "order.history is rebuilt: 24 events of 3 streams in " in capsys.readouterr().out
    assert perform(known, ["list"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["name"], each["state"], each["generation"]) for each in told][2] == ("order.history", "LIVE", 2)
    assert [each["lag"] for each in told] == [24, 24, 0]
    assert perform(known, ["verify", "order.history"]) == 0
    assert "equals a replay, row by row: 3 streams (24 events)" in capsys.readouterr().out


def test_verifying_says_what_differs_and_what_to_do(
    order_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    known = projections(order_database)
    order_id = happen(order_database, history_of(uuid7(), GOOD_WAY))
    assert known.verify("order.list").equal
    with order_database.transaction() as connection:
        connection.execute("update order_list set state = 'PENDING' where stream_id = %s", [order_id])
    assert perform(known, ["verify", "order.list"]) == 1
    said = capsys.readouterr().out
    assert "differs from a replay in 1 streams" in said
    assert "mercato projections rebuild order.list" in said
    assert str(order_id) in said
    assert perform(known, ["rebuild", "order.list"]) == 0
    assert perform(known, ["verify", "order.list"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "order.lists"], "no projection is called 'order.lists'; there are order.list, order.board"),
        (["rebuild"], "usage: projections list | rebuild NAME | verify NAME"),
        ([], "usage: projections list | rebuild NAME | verify NAME"),
    ],
)
def test_what_cannot_be_done_is_said(
    order_database: Database, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert perform(projections(order_database), arguments) == 2
    assert capsys.readouterr().err.startswith(said)


def test_a_service_without_read_models_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(None, ["list"]) == 0
    assert perform(None, ["verify", "any"]) == 2
    assert capsys.readouterr().err == "this service has no projections\n"


def test_the_program_of_a_service_does_it(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    create_keys(tmp_path, SIGNERS)
    targets = {f"MERCATO_TARGET_{name.upper()}": "ipv4:127.0.0.1:1" for name in CALLERS}
    settings = {
        "MERCATO_NAME": "order",
        "MERCATO_DATABASE_URL": fresh_database.url_of("orders"),
        "MERCATO_KEYS": str(tmp_path),
        "MERCATO_LOG_LEVEL": "error",
        **targets,
    }
    command = [sys.executable, "-m", "services.order", "projections"]
    done = [
        subprocess.run([*command, *each], env=os.environ | settings, capture_output=True, text=True, check=False)
        for each in (["verify", "order.board"], ["list"], ["rebuild", "nothing"])
    ]
    assert [each.returncode for each in done] == [0, 0, 2], [each.stderr for each in done]
    assert done[0].stdout.startswith("order.board equals a replay")
    assert len(done[1].stdout.splitlines()) == 3
