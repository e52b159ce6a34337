"""Webhooks without a provider or a database: whose signature is one, and what is news."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from mercato.config import BadSettings, load
from mercato.errors import InvalidArgument
from mercato.ids import uuid7
from mercato.money import Money
from services.payment import outcome
from services.payment.config import PaymentConfig
from services.payment.connection import StripeConnection
from services.payment.domain import Done, Payment, Refused
from services.payment.webhook import BadSignature, Notice, read, sign, verify

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECRET, BODY = "whsec_of_a_test", b'{"id": "evt_1"}'


def test_what_the_provider_signed_is_taken_within_five_minutes() -> None:
    for late in (timedelta(0), timedelta(minutes=5), timedelta(minutes=-5)):
        verify(SECRET, BODY, sign(SECRET, BODY, NOW - late), NOW)


def test_our_signature_is_stripe_s() -> None:
    now = datetime.now(UTC)
    stripe.WebhookSignature.verify_header(BODY.decode(), sign(SECRET, BODY, now), SECRET, tolerance=300)


def test_one_right_signature_of_several_is_enough() -> None:
    wrong, right = sign("whsec_old", BODY, NOW), sign(SECRET, BODY, NOW)
    both = f"{wrong},{right.partition(',')[2]},v0=abc"
    verify(SECRET, BODY, both, NOW)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "t=",
        "v1=",
        "t=1,v1=",
        "nonsense",
        "t=\N{FULLWIDTH DIGIT ONE},v1=ab",
        f"t={'9' * 5000},v1=ab",
        sign("whsec_of_somebody_else", BODY, NOW),
        sign(SECRET, BODY + b" ", NOW),
        sign(SECRET, BODY, NOW - timedelta(minutes=5, seconds=1)),
        sign(SECRET, BODY, NOW + timedelta(minutes=5, seconds=1)),
        sign(SECRET, BODY, NOW).replace("v1=", "v0="),
        sign(SECRET, BODY, NOW).replace(f"t={int(NOW.timestamp())}", f"t={int(NOW.timestamp()) + 1}"),
        sign(SECRET, BODY, NOW).replace("v1=", "v1=ä"),
    ],
)
def test_what_is_not_signed_signed_by_others_or_long_ago_is_refused(signature: str) -> None:
    with pytest.raises(BadSignature):
        verify(SECRET, BODY, signature, NOW)


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode), st.text(max_size=80))
def test_nothing_that_may_come_breaks_the_check(body: bytes, signature: str) -> None:
    with pytest.raises(BadSignature):
        verify(SECRET, body, signature, NOW)


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(_JSON | st.fixed_dictionaries({"type": _JSON, "data": st.fixed_dictionaries({"object": _JSON})}))
def test_a_signed_body_of_another_shape_is_left_aside_or_refused(event: Any) -> None:
    with suppress(InvalidArgument):
        assert read(json.dumps(event).encode()) is None


def test_a_body_that_is_no_json_is_refused() -> None:
    for body in (b"", b"{", b"\xff", b"[" * 50_000):
        with pytest.raises(InvalidArgument):
            read(body)


def _intent(status: str, payment_id: str = "0190a6e0-0000-7000-8000-000000000001") -> dict[str, Any]:
    return {"id": "pi_1", "status": status, "metadata": {"payment_id": payment_id}}


def _event(kind: str, about: dict[str, Any]) -> bytes:
    return json.dumps({"id": "evt_1", "type": kind, "data": {"object": about}}).encode()


def test_what_means_nothing_here_is_left_aside() -> None:
    assert read(_event("customer.created", _intent("succeeded"))) is None
    assert read(_event("payment_intent.processing", _intent("processing"))) is None
    assert read(_event("payment_intent.succeeded", _intent("succeeded", "somebody's"))) is None
    assert read(_event("payment_intent.succeeded", {"id": "pi_1", "status": "succeeded"})) is None
    assert read(_event("charge.failed", {**_intent("x"), "payment_intent": "pi_1", "captured": False})) is None


def test_what_a_webhook_says_is_read() -> None:
    payment_id = UUID(_intent("")["metadata"]["payment_id"])
    assert read(_event("payment_intent.canceled", _intent("canceled"))) == Notice(payment_id, "pi_1", "canceled", 0)
    charge = {**_intent(""), "payment_intent": "pi_1", "captured": True, "amount_refunded": 300}
    assert read(_event("charge.refunded", charge)) == Notice(payment_id, "pi_1", "succeeded", 300)


def _asked() -> Payment:
    return Payment.asked(uuid7(), uuid7(), uuid7(), Money(2500, "EUR"), "pm_card_visa")


def _payments() -> dict[str, Payment]:
    pending = _asked()
    held = outcome.authorized(pending, Done("pi_1", 2500, "visa")).payment
    taken = outcome.captured(held, Money(2500, "EUR")).payment
    part = outcome.refunded(taken.refund(Money(300, "EUR")), Money(300, "EUR")).payment
    return {
        "pending": pending,
        "declined": outcome.declined(pending, Refused("no", "pi_1")).payment,
        "held": held,
        "given up": outcome.voided(held).payment,
        "given up early": outcome.voided(pending).payment,
        "taken": taken,
        "given back in part": part,
        "being given back": taken.refund(Money(300, "EUR")),
    }


NEWS = {
    "pending": {"requires_payment_method", "requires_capture", "canceled", "succeeded"},
    "declined": {"requires_capture", "succeeded"},
    "held": {"canceled", "succeeded"},
    "given up": {"succeeded"},
    "given up early": {"requires_capture", "succeeded"},
    "taken": {"canceled"},
    "given back in part": {"canceled"},
    "being given back": {"canceled"},
}


@pytest.mark.parametrize("name", NEWS)
@pytest.mark.parametrize("status", ["requires_payment_method", "requires_capture", "canceled", "succeeded"])
def test_news_is_what_is_further_than_what_is_known(name: str, status: str) -> None:
    payment = _payments()[name]
    assert Notice(payment.id, "pi_1", status, 0).news(payment) is (status in NEWS[name])


def test_a_refund_is_news_once_it_is_more_than_was_asked_for() -> None:
    found = _payments()
    for name, known in (("taken", 0), ("given back in part", 300), ("being given back", 300)):
        payment = found[name]
        assert not Notice(payment.id, "pi_1", "succeeded", known).news(payment)
        assert Notice(payment.id, "pi_1", "succeeded", known + 1).news(payment)


def test_another_payment_of_the_provider_s_is_always_news() -> None:
    held = _payments()["held"]
    assert Notice(held.id, "pi_2", "requires_capture", 0).news(held)


# Whose key, and where


def _config(**env: str) -> PaymentConfig:
    return load(PaymentConfig, env)


def test_with_stripe_s_own_variables_the_provider_is_stripe() -> None:
    config = _config(STRIPE_API_KEY="sk_test_1", STRIPE_WEBHOOK_SECRET="whsec_1")
    assert (config.key.reveal(), config.provider_url) == ("sk_test_1", "")
    assert config.signing_secret(development=False).reveal() == "whsec_1"
    connection = StripeConnection(config.key.reveal(), config.provider_url, timedelta(seconds=1), timedelta(seconds=1))
    connection.prepare()
    assert connection._client
    requestor: Any = connection._client._requestor
    assert requestor.base_addresses["api"] == "https://api.stripe.com"
    connection.close()


def test_what_is_set_for_the_mesh_wins_over_stripe_s_own_variables() -> None:
    named = {"MERCATO_PAYMENT_PROVIDER_KEY": "sk_ours", "MERCATO_PAYMENT_WEBHOOK_SECRET": "whsec_ours"}
    config = _config(STRIPE_API_KEY="sk_test_1", STRIPE_WEBHOOK_SECRET="whsec_1", **named)
    assert config.key.reveal() == "sk_ours"
    assert config.signing_secret(development=False).reveal() == "whsec_ours"


def test_without_a_key_nothing_starts() -> None:
    with pytest.raises(BadSettings, match="STRIPE_API_KEY"):
        _ = _config().key


@pytest.mark.parametrize("secret", ["", "whsec_development"])
def test_production_takes_no_webhook_that_everybody_could_sign(secret: str) -> None:
    config = _config(MERCATO_PAYMENT_WEBHOOK_SECRET=secret)
    assert config.signing_secret(development=True).reveal() == "whsec_development"
    with pytest.raises(BadSettings, match="WEBHOOK_SECRET"):
        config.signing_secret(development=False)


def test_a_cap_of_nothing_is_no_cap() -> None:
    with pytest.raises(BadSettings, match="DECLINES_PER_CUSTOMER"):
        _config(MERCATO_PAYMENT_DECLINES_PER_CUSTOMER="0")
