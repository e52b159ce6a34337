"""Money under the provider's faults (F5, F6, F8, F9, F10): unknown is never no, nothing is lost, nothing is done twice.

F7, webhooks five times and out of order, is in `test_payment_webhooks`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import httpx
import pytest

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.errors import MercatoError
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Database
from mercato.testing import all_at_once
from mercato.wire import money_from_pb
from services.payment.domain import Alarm, Payment, PaymentDeclined, PaymentVoided
from services.payment.observation import Observation
from services.payment.resolution import ALARMS
from tests.component.payment_shop import UNKNOWN, VISA, Gone, Shop, opened, work_of
from tests.component.provider_process import KEY, ProviderProcess, provider_running


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    with provider_running(tmp_path_factory.mktemp("provider"), HANG="10s") as provider:
        yield provider


@pytest.fixture(scope="module")
def shop(payment_database: Database, provider: ProviderProcess) -> Iterator[Shop]:
    with opened(payment_database, provider) as shop:
        yield shop


@contextmanager
def _faulty(shop: Shop, **rates: str) -> Iterator[None]:
    shop.provider.steer("/_faults", **rates)
    try:
        yield
    finally:
        shop.provider.steer("/_faults")


def _movements(shop: Shop) -> list[dict[str, Any]]:
    """What moved at the provider: the outside truth."""
    reply = httpx.get(f"{shop.provider.url}/_audit", headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    return [json.loads(line) for line in reply.raise_for_status().text.splitlines()]


def _moved(shop: Shop, payment_id: str) -> list[str]:
    return [each["did"] for each in _movements(shop) if each["payment_id"] == payment_id]


def _unanswered(shop: Shop) -> str:
    payment_id = str(uuid7())
    with pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=1.0)
    return payment_id


def _unheard(shop: Shop, card: str = VISA) -> str:
    """A payment that the provider decided on, for a process that died before it could write that down."""
    payment = Payment.asked(uuid7(), uuid7(), uuid7(), Money(2500, "EUR"), card)
    # A card's refusal is an answer like any other.
    with pytest.raises(Gone):
        shop.dying.authorize_payment(payment)
    return str(payment.id)


def test_f5_what_the_provider_did_for_a_process_that_is_gone_is_found_and_not_done_again(shop: Shop) -> None:
    payment_id = _unheard(shop)
    assert _moved(shop, payment_id) == ["authorize"]
    assert (shop.get(payment_id).state, shop.told(payment_id)) == (pb.Payment.PENDING, [])
    shop.resolve_all()
    assert shop.authorize(payment_id=payment_id).state == pb.Payment.AUTHORIZED
    with pytest.raises(Gone):
        shop.dying.capture_payment(UUID(payment_id), Money(2000, "EUR"))
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED
    assert money_from_pb(shop.capture(payment_id, 1500).captured) == Money(2000, "EUR"), "the first amount stays"
    assert _moved(shop, payment_id) == ["authorize", "capture"]


def test_f5_a_refund_is_not_given_twice_though_the_first_who_gave_it_is_gone(shop: Shop) -> None:
    payment = shop.captured()
    with pytest.raises(Gone):
        shop.dying.refund_payment(UUID(payment.id), Money(300, "EUR"), "broken", None)
    shop.resolve_all()
    assert shop.stands(payment.id) == ("CAPTURED", 2500, 300)
    assert _moved(shop, payment.id) == ["authorize", "capture", "refund"]


def test_f5_what_is_seen_while_it_is_being_answered_is_not_counted_twice(shop: Shop) -> None:
    payment = shop.captured()
    with pytest.raises(Gone):
        shop.dying.refund_payment(UUID(payment.id), Money(300, "EUR"), "broken", None)
    observation = Observation(partial(work_of, shop), shop.stripe, shop.resolution)
    reference = next(each["payment_intent"] for each in _movements(shop) if each["payment_id"] == payment.id)
    assert not observation.observe(UUID(payment.id), reference)
    shop.resolve_all()
    assert not observation.observe(UUID(payment.id), reference)
    assert shop.stands(payment.id) == ("CAPTURED", 2500, 300)


def test_f6_silence_is_unknown_until_it_is_asked_for_and_then_what_it_was(shop: Shop) -> None:
    granted, declined = _unheard(shop), _unheard(shop, "pm_card_visa_chargeDeclined")
    for payment_id in (granted, declined):
        assert (shop.get(payment_id).state, shop.told(payment_id)) == (pb.Payment.PENDING, [])
    shop.resolve_all()
    assert shop.get(granted).state == pb.Payment.AUTHORIZED
    with pytest.raises(PaymentDeclined):
        shop.authorize(payment_id=declined)
    assert (_moved(shop, granted), _moved(shop, declined)) == (["authorize"], ["decline"])


def test_f6_what_was_done_before_the_provider_fell_silent_is_done_once(shop: Shop) -> None:
    with _faulty(shop, hang="1"):
        payment = shop.authorize(within=10)
        assert shop.capture(payment.id, 2000).state == pb.Payment.CAPTURED
    assert _moved(shop, payment.id) == ["authorize", "capture"]


def test_f6_success_that_is_found_after_the_void_is_let_go_and_alarmed(shop: Shop) -> None:
    alarms, payment_id = ALARMS.value(Alarm.AUTHORIZED_AFTER_VOID), _unheard(shop)
    assert shop.void(payment_id).state == pb.Payment.VOIDED
    shop.resolve_all()
    assert _moved(shop, payment_id) == ["authorize", "cancel"]
    assert ALARMS.value(Alarm.AUTHORIZED_AFTER_VOID) == alarms + 1
    assert shop.booked(payment_id) == {}


def test_f8_what_a_provider_that_was_down_was_to_do_is_done_when_it_is_back(shop: Shop) -> None:
    held = shop.authorize().id
    with _faulty(shop, down="1"):
        wanted, given_up = _unanswered(shop), _unanswered(shop)
        assert shop.void(given_up).state == pb.Payment.VOIDED
        assert shop.void(held).state == pb.Payment.VOIDED
        assert not _moved(shop, wanted)
    shop.resolve_all()
    assert shop.get(wanted).state == pb.Payment.AUTHORIZED
    assert _moved(shop, wanted) == ["authorize"]
    assert _moved(shop, held) == ["authorize", "cancel"]
    # It was asked for before it was given up, and nobody knows that it never arrived: so it is done, and undone.
    assert _moved(shop, given_up) == ["authorize", "cancel"]


def test_f9_a_cancellation_that_fails_twenty_times_is_not_forgotten(shop: Shop) -> None:
    payment_id = shop.authorize().id
    with _faulty(shop, down="1"):
        assert shop.void(payment_id).state == pb.Payment.VOIDED
        for _ in range(20):
            assert shop.resolution.resolve_due()
    assert _moved(shop, payment_id) == ["authorize"]
    shop.resolve_all()
    assert _moved(shop, payment_id) == ["authorize", "cancel"]


def test_f10_an_authorization_that_the_void_overtook_is_refused_and_never_asked_for(shop: Shop) -> None:
    payment_id = str(uuid7())
    shop.void(payment_id)
    for _ in range(2):
        with pytest.raises(PaymentVoided):
            shop.authorize(payment_id=payment_id)
    assert _moved(shop, payment_id) == []


def _live(shop: Shop, number: int, payment_id: str) -> None:
    """One order's payment, by somebody who asks again whatever happens, and gives up in the end."""
    dice = Random(number)
    card = dice.choice([VISA, VISA, VISA, "pm_card_visa_chargeDeclined"])
    acts: list[Any] = [partial(shop.authorize, card, payment_id=payment_id, within=1.0)]
    acts += dice.choice(
        [
            [partial(shop.capture, payment_id, 2000), partial(shop.refund, payment_id, 300, str(uuid7()), 1.0)],
            [partial(shop.capture, payment_id, 2500)],
            [partial(shop.void, payment_id)],
            [],
        ]
    )
    for act in acts:
        for _ in range(3):
            with suppress(MercatoError):
                act()
                break


def test_whatever_the_provider_does_wrong_the_books_come_to_what_it_did(shop: Shop) -> None:
    payments = [str(uuid7()) for _ in range(16)]
    with _faulty(shop, hang="0.15", down="0.25"):
        all_at_once([partial(_live, shop, number, payment_id) for number, payment_id in enumerate(payments)])
    shop.resolve_all()
    _agree(shop, payments)
    # Every decision was of one amount, however often it was asked for.
    counted = Counter((each["payment_id"], each["did"]) for each in _movements(shop))
    assert max(counted[payment_id, did] for payment_id in payments for did in ("authorize", "capture", "refund")) == 1


def _agree(shop: Shop, payments: list[str]) -> None:
    """The provider, line by line, says the same as our books; and reconciling finds nothing to say."""
    assert not [each for each in shop.reconciled().differences if each.payment_id in payments]
    for payment_id in payments:
        moved = Counter[str]()
        for each in _movements(shop):
            moved[each["did"]] += each["amount"] if each["payment_id"] == payment_id else 0
        booked = Counter(shop.booked(payment_id))
        ends = moved["cancel"] + (2500 if moved["capture"] else 0)
        assert booked["provider_hold"] == moved["authorize"] - ends == -booked["promised"]
        assert booked["provider_balance"] == moved["capture"] - moved["refund"]
        assert (-booked["sales"], booked["refunds"]) == (moved["capture"], moved["refund"])
