"""Nothing is taken that its customer did not agree to; giving it back is never in need of a grant."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.auth import LEEWAY
from mercato.errors import PermissionDenied
from mercato.grants import (
    LIFE,
    Grant,
    GrantExceeded,
    GrantExpired,
    GrantInvalid,
    GrantMismatch,
    GrantRequired,
)
from mercato.ids import uuid7
from mercato.keys import SigningKey
from mercato.migrate import default_folder
from mercato.money import Money
from mercato.postgres import Database
from mercato.rpc import Principal, on_behalf_of
from mercato.testing import staff
from services.payment.domain import CASH
from tests.component.payment_shop import ANNA, BOB, VISA, Shop, eur, grant_for, opened
from tests.component.provider_process import provider_running
from tests.servers import FreshDatabase


@pytest.fixture(scope="module")
def shop(payment_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with provider_running(tmp_path_factory.mktemp("provider")) as provider, opened(payment_database, provider) as shop:
        yield shop


def wanted(cents: int = 2500, card: str = VISA, customer: Principal = ANNA) -> pb.AuthorizePaymentRequest:
    """An order's payment that is not begun."""
    return pb.AuthorizePaymentRequest(
        payment_id=str(uuid7()),
        order_id=str(uuid7()),
        customer_id=customer.subject,
        amount=eur(cents),
        payment_method=card,
    )


def capture(payment: Any, cents: int = 2500) -> pb.CapturePaymentRequest:
    return pb.CapturePaymentRequest(payment_id=payment.id, amount=eur(cents))


def signed(shop: Shop, grant: Grant, *, by: str = "order-grant", ago: float = 0.0) -> str:
    """A grant as some key signs it, some time ago."""
    key = SigningKey.load(shop.served.keys, by)
    began = int(time.time() - ago)
    return key.sign("grant+jwt", {"iss": by, **grant.claims, "iat": began, "exp": began + LIFE})


def test_without_a_grant_nothing_is_authorized_or_captured(shop: Shop) -> None:
    request, payment = wanted(), shop.authorize()
    with on_behalf_of(ANNA.subject):
        with pytest.raises(GrantRequired):
            shop.order.AuthorizePayment(request)
        with pytest.raises(GrantRequired):
            shop.order.CapturePayment(capture(payment))
    assert shop.stands(payment.id) == ("AUTHORIZED", 0, 0)
    assert shop.provider.done_for(request.payment_id) == []


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"order_id": "another"}, GrantMismatch),
        ({"payment_id": "another"}, GrantMismatch),
        ({"customer_id": BOB.subject}, GrantMismatch),
        ({"method": "another"}, GrantMismatch),
        ({"steps": frozenset({"payment.CapturePayment"})}, GrantMismatch),
        ({"cap": Money(2499, "EUR")}, GrantExceeded),
        ({"cap": Money(9900, "USD")}, GrantExceeded),
    ],
    ids=["order", "payment", "customer", "means", "step", "amount", "currency"],
)
def test_what_was_not_agreed_to_is_not_authorized(
    shop: Shop, changed: dict[str, Any], refusal: type[PermissionDenied]
) -> None:
    request = wanted()
    grant = replace(grant_for(request), **changed)
    with on_behalf_of(ANNA.subject, grant=signed(shop, grant)), pytest.raises(refusal):
        shop.order.AuthorizePayment(request)
    assert shop.provider.done_for(request.payment_id) == []


def test_a_service_cannot_agree_for_its_customers(shop: Shop) -> None:
    request = wanted()
    with on_behalf_of(ANNA.subject, grant=signed(shop, grant_for(request), by="order")), pytest.raises(GrantInvalid):
        shop.order.AuthorizePayment(request)


def test_no_more_is_captured_than_was_agreed_to_nor_by_another_payment(shop: Shop) -> None:
    payment, other = shop.authorize(cents=2500), shop.authorize(cents=9900)
    grant = shop.agreed[payment.id]
    with on_behalf_of(ANNA.subject, grant=signed(shop, replace(grant, cap=Money(2400, "EUR")))):
        with pytest.raises(GrantExceeded):
            shop.order.CapturePayment(capture(payment))
        with pytest.raises(GrantMismatch):
            shop.order.CapturePayment(capture(other, 2400))
        assert shop.order.CapturePayment(capture(payment, 2400)).state == pb.Payment.CAPTURED


def test_by_one_grant_one_payment_is_made_however_often_it_is_shown(shop: Shop) -> None:
    request = wanted()
    with shop.consent(grant_for(request)):
        first = shop.order.AuthorizePayment(request)
        again = shop.order.AuthorizePayment(request)
    assert first == again
    assert shop.provider.done_for(request.payment_id) == ["payment_intents"]


def test_a_grant_that_has_expired_takes_nothing_and_hinders_no_giving_back(shop: Shop) -> None:
    held, taken, cash = shop.authorize(), shop.captured(), shop.authorize(card=CASH)
    request = wanted()
    old = {each: signed(shop, grant, ago=LIFE + LEEWAY) for each, grant in shop.agreed.items()}
    late = signed(shop, grant_for(request), ago=LIFE + LEEWAY)
    with on_behalf_of(ANNA.subject, grant=late), pytest.raises(GrantExpired):
        shop.order.AuthorizePayment(request)
    with on_behalf_of(ANNA.subject, grant=old[held.id]):
        with pytest.raises(GrantExpired):
            shop.order.CapturePayment(capture(held))
        assert shop.void(held.id).state == pb.Payment.VOIDED
    with on_behalf_of(ANNA.subject, grant=old[taken.id]):
        back = pb.RefundPaymentRequest(id=taken.id, amount=eur(2500), reason="return", request_id=str(uuid7()))
        assert shop.order.RefundPayment(back).state == pb.Payment.REFUNDED
    assert shop.settle(cash.id, 2500).state == pb.Payment.CAPTURED


def test_staff_who_give_money_back_need_nobody_s_grant(shop: Shop) -> None:
    assert shop.refund(shop.captured().id, 100).state == pb.Payment.CAPTURED
    assert shop.as_user(staff("support")).GetPayment(pb.GetPaymentRequest(id=shop.captured().id))


def test_what_was_begun_before_there_were_grants_goes_on_without(shop: Shop) -> None:
    old, new = shop.authorize(), shop.authorize()
    shop.execute("update payment set create_time = '2020-01-01' where id = %s", old.id)
    with on_behalf_of(ANNA.subject):
        assert shop.order.CapturePayment(capture(old)).state == pb.Payment.CAPTURED
        with pytest.raises(GrantRequired):
            shop.order.CapturePayment(capture(new))


def test_processes_of_the_release_before_are_let_in_until_the_day_of_grants(
    shop: Shop, fresh_database: FreshDatabase
) -> None:
    early, late = wanted(), wanted()
    with on_behalf_of(ANNA.subject):
        with grants_begin_in(fresh_database, timedelta(hours=1)):
            payment = shop.order.AuthorizePayment(early)
        with pytest.raises(GrantRequired):
            shop.order.AuthorizePayment(late)
        # It was begun before that day.
        with grants_begin_in(fresh_database, timedelta(0)):
            assert shop.order.CapturePayment(capture(payment)).state == pb.Payment.CAPTURED


@contextmanager
def grants_begin_in(fresh_database: FreshDatabase, pause: timedelta) -> Iterator[None]:
    """Nobody asks for grants until then; after the block it is as it was."""
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        row = connection.execute("select since from payments.grants_demanded").fetchone()
        connection.execute("update payments.grants_demanded set since = clock_timestamp() + %s", [pause])
        yield
        connection.execute("update payments.grants_demanded set since = %s", row)


def test_the_day_of_grants_is_an_hour_away_where_there_are_payments_and_nobody_who_serves_moves_it(
    shop: Shop, fresh_database: FreshDatabase
) -> None:
    shop.authorize()
    migration = (default_folder() / "payments" / "0004_grants.sql").read_text()
    [insert] = [each for each in migration.split(";") if "insert into" in each]
    with psycopg.connect(fresh_database.url) as connection:
        connection.execute("set search_path to payments")
        connection.execute("delete from grants_demanded")
        connection.execute(insert.encode())
        away = connection.execute("select since - now() from grants_demanded").fetchone()
        connection.rollback()
    assert away == (timedelta(hours=1),)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shop.execute("update grants_demanded set since = now() + interval '1 year'")
