"""Bad input, row by row, against the whole mesh: refused as written, one line in the log, and nothing changed by it."""

from __future__ import annotations

import ast
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from chaos.fuzz.effects import different, digest_of
from chaos.fuzz.wire import Answer, Line, Request
from gateway.contract import published
from mercato.auth import Signer
from mercato.ids import uuid7
from mercato.local.mesh import Mesh
from mercato.rpc.status import error_of_call
from mercato.testing import a_customer, staff
from tests.e2e import bad_grpc, bad_rest
from tests.e2e.bad_rest import ROWS, Row
from tests.e2e.town import Buyer, Shop, ordered, until

WRITTEN = {*(f"B{number}" for number in range(1, 54)), *(f"G{number}" for number in range(1, 25))}


class Scene:
    """What the rows are about, and who sends them."""

    def __init__(self, shop: Shop) -> None:
        self._buyer, self._other = shop.buyer(), shop.buyer()
        sku = shop.sku(20)
        placed = [self._buyer.order(self._buyer.wish(shop.slot(), ordered(sku))) for _ in range(2)]
        order, delivered = placed
        shop.pick(delivered["id"])
        shop.deliver(self._buyer.sees(delivered["id"], "READY"))
        self._buyer.sees(delivered["id"], "DELIVERED")
        (paid,) = self._buyer.payments(delivered["id"])
        others = self._other.order(self._other.wish(shop.slot(), ordered(sku)))
        page = self._buyer.get("/v1/products", pageSize=1)["nextPageToken"]
        self._names = {
            "order": order["id"],
            "ORDER": order["id"].upper(),
            "delivered": delivered["id"],
            "others": others["id"],
            "missing": str(uuid7()),
            "sku": sku,
            "address": self._buyer.address_id,
            "slot": shop.slot(),
            "payment": paid["id"],
            "pageToken": page,
            "kept": secrets.token_hex(8),
        }
        people: Mapping[str, Buyer | Any] = {
            "customer": self._buyer,
            "other": self._other,
            "finance": shop.staff("finance"),
        }
        self._tokens = {name: str(who.http.headers["Authorization"]) for name, who in people.items()}

    def request(self, row: Row) -> Request:
        """The request of a row."""
        self._names |= {"mark": secrets.token_hex(6), "email": f"{secrets.token_hex(6)}@mercato.example"}
        if "{key}" in row.headers.values():
            self._names["key"] = secrets.token_hex(8)
        headers = {"Authorization": self._tokens[row.who]} if row.who in self._tokens else {}
        body = self._filled(row.content.decode("latin-1")).encode("latin-1")
        if body:
            headers["Content-Type"] = "application/json"
        headers |= {name: self._filled(value) for name, value in row.headers.items()}
        return Request(row.method, self._filled(row.target), tuple(headers.items()), body)

    def _filled(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: self._names.get(match[1], match[0]), text)


@pytest.fixture(scope="module")
def scene(shop: Shop) -> Scene:
    """Somebody's orders, another's, a product, a slot."""
    return Scene(shop)


@pytest.fixture(scope="module")
def line(mesh: Mesh) -> Iterator[Line]:
    """A connection to the gateway."""
    with closing(Line("127.0.0.1", int(mesh.url.rpartition(":")[2]))) as line:
        yield line


def wrong_with(row: Row, answer: Answer) -> str:
    """What is not as the row says."""
    problem = answer.json if answer.status >= 400 else None
    fields = [each["field"] for each in problem.get("errors", [])] if isinstance(problem, dict) else []
    found = (answer.status, answer.reason if answer.status >= 400 else "", row.names if row.names in fields else "")
    if found != (row.status, row.reason, row.names):
        return f"{found} {fields} {answer.trouble} {answer.body[:300]!r}"
    if row.says and row.says.encode() not in answer.body:
        return f"does not say {row.says}"
    return ""


def test_every_row_over_rest_is_answered_as_written(scene: Scene, line: Line) -> None:
    wrong = {f"{row.id} {row.about}": told for row in ROWS if (told := wrong_with(row, line.send(scene.request(row))))}
    assert not wrong, "\n".join(f"{row}: {told}" for row, told in wrong.items())


def test_what_is_refused_changes_nothing_and_is_one_line_in_the_log(mesh: Mesh, scene: Scene, line: Line) -> None:
    pids = {report.name: report.pid for report in mesh.reports()}
    # A row refuses a key for being used; whichever test runs first, it is.
    assert line.send(scene.request(next(row for row in ROWS if row.about == "a first order with a key"))).status == 201
    before = digest_of(mesh)
    answers = [(row, line.send(scene.request(row))) for row in ROWS if not row.changes and row.status != 200]
    assert [(row.id, row.about, answer.status) for row, answer in answers if answer.status != row.status] == []
    after = digest_of(mesh)
    assert {table: (before[table], after[table]) for table in different(before, after)} == {}
    assert {report.name: report.pid for report in mesh.reports()} == pids

    ids = {answer.headers["x-request-id"]: row.about for row, answer in answers if "x-request-id" in answer.headers}
    assert len(ids) > 0.9 * len(answers)
    told = until(lambda: _told(mesh, [*ids]), "all are in the log")
    assert {about: told.count(id_) for id_, about in ids.items() if told.count(id_) != 1} == {}


def _told(mesh: Mesh, ids: list[str]) -> list[str]:
    """The ids of the answers in the gateway's log, once the last of them is there; each line is one of JSON."""
    lines = (mesh.home.logs / "gateway.log").read_text().splitlines()
    told = [str(each.get("request_id")) for text in lines if (each := json.loads(text))["event"] == "http.request"]
    return told if ids[-1] in told else []


def test_another_s_order_looks_like_none(scene: Scene, line: Line) -> None:
    first, second = (line.send(scene.request(row)) for row in ROWS if row.id == "B17")
    assert _anonymous(first) == _anonymous(second)


def _anonymous(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.json.items() if name not in ("requestId", "instance")}


@pytest.fixture(scope="module")
def channels(mesh: Mesh) -> Iterator[Mapping[str, grpc.Channel]]:
    """A connection to each service."""
    channels = {name: grpc.insecure_channel(target) for name, target in mesh.targets.items()}
    yield channels
    for channel in channels.values():
        channel.close()


def _token(mesh: Mesh, row: bad_grpc.Row) -> str:
    """What the gateway would say of the caller; or what somebody says who is not the gateway."""
    signer = Signer.load(mesh.home.keys, "gateway")
    if row.token in ("another's", "forged", "rubbish"):
        token = signer.token("user" if row.token == "another's" else row.service, a_customer())
        return {"another's": token, "forged": f"{token[:-9]}AAAAAAAAA", "rubbish": "a.b.c"}[row.token]
    return signer.token(row.service, staff(row.token) if row.token != "customer" else a_customer())


def test_every_row_over_grpc_is_answered_as_written_and_changes_nothing(
    mesh: Mesh, channels: Mapping[str, grpc.Channel]
) -> None:
    before, wrong = digest_of(mesh), dict[str, str]()
    for row in bad_grpc.ROWS:
        token = [("authorization", f"Bearer {_token(mesh, row)}")] if row.token else []
        call: Any = channels[row.service].unary_unary(row.path)
        try:
            call(row.content, timeout=row.timeout, metadata=[*token, *row.metadata])
            found: tuple[str, str, list[str]] = "OK", "", []
        except grpc.RpcError as failed:
            error, refused = error_of_call(failed), cast("grpc.Call", failed)
            found = refused.code().name, error.reason if row.reason else "", [each.field for each in error.fields]
        if found[:2] != (row.code, row.reason) or (row.names and row.names not in found[2]):
            wrong[f"{row.id} {row.about}"] = str(found)
    assert not wrong, "\n".join(f"{row}: {told}" for row, told in wrong.items())
    after = digest_of(mesh)
    assert {table: (before[table], after[table]) for table in different(before, after)} == {}


def test_no_public_message_has_a_depth_without_a_bound() -> None:
    open_ended = {f"google.protobuf.{name}" for name in ("Any", "Struct", "Value", "ListValue")}
    met = {field.message_type.full_name for message in _messages() for field in message.fields if field.message_type}
    assert not met & open_ended


def _messages() -> list[Any]:
    return [message for file in published() for message in file.message_types_by_name.values()]


def test_no_row_of_the_matrix_is_forgotten() -> None:
    played = {row.id for row in ROWS} | {row.id for row in bad_grpc.ROWS}
    elsewhere, not_here = (
        {**bad_rest.ELSEWHERE, **bad_grpc.ELSEWHERE},
        {**bad_rest.DOES_NOT_APPLY, **bad_grpc.DOES_NOT_APPLY},
    )
    assert played | elsewhere.keys() | not_here.keys() == WRITTEN
    assert not played & not_here.keys()
    for place in elsewhere.values():
        path, _, name = place.partition("::")
        assert name in {
            each.name for each in ast.walk(ast.parse(Path(path).read_text())) if isinstance(each, ast.FunctionDef)
        }


def test_no_contract_has_an_address_that_somebody_of_ours_would_call() -> None:
    names = {field.name for message in _messages() for field in message.fields}
    assert not {name for name in names if re.search(r"(^|_)(ur[il]|callback|endpoint|href|host|webhook)(_|$)", name)}
