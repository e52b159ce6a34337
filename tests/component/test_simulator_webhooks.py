"""What the provider tells by webhook, its faults by rate, the end of authorizations, and the list for audits."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from simulator.audit import read
from tests.component.test_simulator import KEY, VISA, Shop, running

SECRET = "whsec_of_a_test"
HEAD = {"Authorization": f"Bearer {KEY}"}


class Door(ThreadingHTTPServer):
    """Whoever is told: it takes what comes, unless it is closed, and keeps it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.came: queue.Queue[Any] = queue.Queue()
        self.refusals = 0
        super().__init__(("127.0.0.1", 0), _Knock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/webhooks/stripe"

    def take(self) -> stripe.Event:
        """The next webhook, its signature checked by the SDK."""
        body, signature = self.came.get(timeout=60)
        # The SDK's own check: whether ours is Stripe's scheme is not for us to say.
        event: stripe.Event = stripe.Webhook.construct_event(body, signature, SECRET)
        return event

    def types(self, count: int) -> list[str]:
        return [self.take().type for _ in range(count)]


class _Knock(BaseHTTPRequestHandler):
    server: Door
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = self.server.refusals > 0
        self.server.refusals -= refused
        if not refused:
            self.server.came.put((body, self.headers["Stripe-Signature"]))
        self.send_response_only(503 if refused else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    thread = threading.Thread(target=door.serve_forever, args=(0.05,))
    thread.start()
    yield door
    door.shutdown()
    thread.join()
    door.server_close()


@contextmanager
def telling(log: Path, door: Door, **settings: str) -> Iterator[Shop]:
    told = {"WEBHOOK_URL": door.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_RETRY": "50ms", "LATE": "300ms"}
    with running(log, **told | settings) as shop:
        yield shop


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_everything_that_happens_to_a_payment_is_told_signed(log: Path, door: Door) -> None:
    with telling(log, door) as shop:
        intent = shop.authorize(metadata={"payment_id": "p7"})
        event = door.take()
        assert (event.type, event.data.object["id"]) == ("payment_intent.amount_capturable_updated", intent.id)
        assert event.data.object["metadata"]["payment_id"] == "p7"
        shop.stripe.v1.payment_intents.capture(intent.id)
        assert door.types(1) == ["payment_intent.succeeded"]
        for cents in (100, 200):
            shop.stripe.v1.refunds.create({"payment_intent": intent.id, "amount": cents})
        refunded = [door.take(), door.take()]
        assert {each.data.object["amount_refunded"] for each in refunded} == {100, 300}
        assert len({each.id for each in refunded}) == 2
        shop.stripe.v1.payment_intents.cancel(shop.authorize().id)
        with pytest.raises(stripe.CardError):
            shop.authorize("pm_card_visa_chargeDeclined")
        assert set(door.types(3)) == {
            "payment_intent.amount_capturable_updated",
            "payment_intent.canceled",
            "payment_intent.payment_failed",
        }


def test_a_webhook_that_nobody_takes_is_brought_again(log: Path, door: Door) -> None:
    door.refusals = 3
    with telling(log, door) as shop:
        shop.authorize()
        assert door.take().type == "payment_intent.amount_capturable_updated"
    assert door.refusals == 0


def test_what_was_not_taken_is_told_after_a_restart_and_what_was_taken_is_not(log: Path, door: Door) -> None:
    with running(log) as shop:
        shop.authorize()
    with telling(log, door) as shop:
        taken = shop.authorize()
        assert door.take().data.object["id"] == taken.id
    door.refusals = 1000
    with telling(log, door) as shop:
        missed = shop.authorize()
    door.refusals = 0
    with telling(log, door):
        assert door.take().data.object["id"] == missed.id
    with telling(log, door) as shop:
        last = shop.authorize()
        assert door.take().data.object["id"] == last.id


def test_a_duplicate_is_the_same_event_five_times(log: Path, door: Door) -> None:
    with telling(log, door, FAULTS="duplicate=1,shuffle=1") as shop:
        shop.authorize()
        assert len({door.take().id for _ in range(5)}) == 1


def test_a_late_webhook_is_overtaken(log: Path, door: Door) -> None:
    with telling(log, door) as shop:
        late, soon = shop.authorize("pm_late_webhook"), shop.authorize()
        assert [door.take().data.object["id"] for _ in range(2)] == [soon.id, late.id]


def _steer(shop: Shop, path: str, **form: str) -> httpx.Response:
    return httpx.post(f"{shop.address}{path}", data=form, headers=HEAD)


def test_faults_are_set_and_healed_while_it_runs(log: Path) -> None:
    with running(log) as shop:
        assert _steer(shop, "/_faults", down="1").json()["down"] == 1.0
        with pytest.raises(stripe.APIError):
            shop.authorize(key="k1")
        assert _steer(shop, "/_faults").json() == dict.fromkeys(
            ("down", "slow", "hang", "duplicate", "shuffle", "late"), 0.0
        )
        shop.authorize(key="k1")
        assert len(shop.log()) == 1
        assert httpx.get(f"{shop.address}/_faults", headers=HEAD).json()["down"] == 0.0
        assert httpx.get(f"{shop.address}/_faults").status_code == 401


@pytest.mark.parametrize("form", [{"dwon": "1"}, {"down": "2"}, {"down": "often"}])
def test_faults_that_there_are_not_are_refused(log: Path, form: dict[str, str]) -> None:
    with running(log) as shop:
        assert _steer(shop, "/_faults", **form).status_code == 400


def test_a_call_that_hangs_was_done(log: Path) -> None:
    with running(log, FAULTS="hang=1", HANG="1s") as shop:
        with pytest.raises(stripe.APIConnectionError):
            shop.authorize(key="k1")
        assert shop.authorize(key="k1").status == "requires_capture"
        assert len(shop.log()) == 1


def _audit(shop: Shop, after: int = 0) -> list[dict[str, Any]]:
    reply = httpx.get(f"{shop.address}/_audit?after={after}", headers=HEAD)
    return [json.loads(line) for line in reply.raise_for_status().text.splitlines()]


def test_an_authorization_that_nobody_captures_ends(log: Path, door: Door) -> None:
    with telling(log, door, EXPIRY="0s") as shop:
        intent = shop.authorize()
        assert sorted(door.types(2)) == ["payment_intent.amount_capturable_updated", "payment_intent.canceled"]
        ended = shop.stripe.v1.payment_intents.retrieve(intent.id)
        assert (ended.status, ended.cancellation_reason) == ("canceled", "automatic")
        assert [each["did"] for each in _audit(shop)] == ["authorize", "expire"]
    with telling(log, door, EXPIRY="7d") as shop:
        taken, given_up = shop.authorize(), shop.authorize()
        shop.stripe.v1.payment_intents.capture(taken.id)
        assert _steer(shop, "/_expire", payment_intent=given_up.id).status_code == 200
        assert _steer(shop, "/_expire", payment_intent=taken.id).status_code == 400
        assert shop.stripe.v1.payment_intents.retrieve(given_up.id).status == "canceled"


_ACTS: list[tuple[Callable[[Shop, str], Any], list[tuple[str, int]]]] = [
    (lambda shop, pi: shop.stripe.v1.payment_intents.cancel(pi), [("cancel", 2500)]),
    (lambda shop, pi: shop.stripe.v1.payment_intents.capture(pi, {"amount_to_capture": 2000}), [("capture", 2000)]),
]


@pytest.mark.parametrize(("act", "told"), _ACTS)
def test_every_movement_of_money_has_its_line(
    log: Path, act: Callable[[Shop, str], Any], told: list[tuple[str, int]]
) -> None:
    with running(log) as shop:
        intent = shop.authorize(metadata={"payment_id": "p1", "order_id": "o1"}, key="k1")
        act(shop, intent.id)
        first, *rest = _audit(shop)
        assert set(first) == {
            *("line", "time", "did", "amount", "currency", "payment_intent", "charge", "refund"),
            *("payment_id", "order_id", "refund_id", "key", "decline_code"),
        }
        assert (first["did"], first["payment_id"], first["order_id"], first["key"]) == ("authorize", "p1", "o1", "k1")
        assert [(each["did"], each["amount"]) for each in rest] == told
        assert {each["currency"] for each in rest} == {"USD"}


def test_refunds_and_refusals_have_their_lines_and_what_moved_nothing_has_none(log: Path) -> None:
    with running(log) as shop:
        intent = shop.authorize(metadata={"payment_id": "p1"}, capture_method="automatic")
        params: Any = {"payment_intent": intent.id, "amount": 300, "metadata": {"refund_id": "r1"}}
        shop.stripe.v1.refunds.create(params)
        with pytest.raises(stripe.InvalidRequestError):
            shop.stripe.v1.payment_intents.cancel(intent.id)
        with pytest.raises(stripe.CardError):
            shop.authorize("pm_card_visa_chargeDeclined")
        lines = _audit(shop)
        assert [(each["line"], each["did"], each["amount"]) for each in lines] == [
            (1, "authorize", 2500),
            (1, "capture", 2500),
            (2, "refund", 300),
            (4, "decline", 2500),
        ]
        assert (lines[2]["payment_id"], lines[2]["refund_id"]) == ("p1", "r1")
        assert lines[3]["decline_code"] == "generic_decline"
        assert [each["line"] for each in _audit(shop, after=2)] == [4]
        assert list(map(json.loads, read(log))) == lines
        assert httpx.get(f"{shop.address}/_audit").status_code == 401


def test_a_page_goes_on_behind_the_last_record_of_the_one_before(log: Path) -> None:
    with running(log) as shop:
        made = [shop.authorize(VISA, amount=100 + number).id for number in range(5)]
        params: Any = {"limit": 2}
        listed = [each.id for each in shop.stripe.v1.payment_intents.list(params).auto_paging_iter()]
        assert listed == made[::-1]
