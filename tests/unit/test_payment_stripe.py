"""What the provider is asked, in Stripe's own words: nothing that only its stand-in would understand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe.params as documented

from mercato.ids import uuid7
from mercato.money import Money
from mercato.testing import FixedClock
from services.payment.connection import No
from services.payment.domain import Attempt, Done, Kind, Payment, Progress, Refused
from services.payment.provider import StripeProvider

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Intent:
    """What Stripe would answer, as far as it is looked at."""

    id, status, amount, amount_received, currency = "pi_1", "requires_capture", 2500, 0, "usd"
    latest_charge, metadata = None, None


class Listener:
    """Stands where the connection to Stripe does, and keeps what it is asked."""

    def __init__(self, answers: Callable[[str], Any]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answers = answers

    def call(self, ask: Callable[[Any], Any]) -> Any:
        return ask(self)

    @property
    def payment_intents(self) -> "Listener":
        return self

    @property
    def refunds(self) -> "Refunds":
        return Refunds(self)

    def hear(self, name: str, params: Any) -> Any:
        self.asked.append((name, dict(params)))
        return self._answers(name)

    def create(self, params: Any, _options: Any) -> Any:
        return self.hear("PaymentIntentCreateParams", params)

    def capture(self, _id: str, params: Any, _options: Any) -> Any:
        return self.hear("PaymentIntentCaptureParams", params)

    def cancel(self, _id: str, params: Any, _options: Any) -> Any:
        return self.hear("PaymentIntentCancelParams", params)

    def retrieve(self, _id: str, params: Any) -> Any:
        return self.hear("PaymentIntentRetrieveParams", params)

    def search(self, params: Any) -> Any:
        return self.hear("PaymentIntentSearchParams", params)

    def list(self, params: Any) -> Any:
        return self.hear("PaymentIntentListParams", params)


class Refunds:
    """The same of refunds."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def create(self, params: Any, _options: Any) -> Any:
        return self._listener.hear("RefundCreateParams", params)

    def list(self, params: Any) -> Any:
        return self._listener.hear("RefundListParams", params)


class Page:
    """A list with nothing in it."""

    data: tuple[Any, ...] = ()

    def auto_paging_iter(self) -> Any:
        return iter(())


def _answer(name: str) -> Any:
    if name in ("PaymentIntentCaptureParams", "PaymentIntentCancelParams", "RefundCreateParams"):
        raise No("payment_intent_unexpected_state")
    return Page() if "List" in name or "Search" in name else Intent()


@pytest.fixture
def listener() -> Listener:
    return Listener(_answer)


def _attempt(payment: Payment, kind: Kind, began: datetime = NOW) -> Attempt:
    return Attempt(uuid7(), payment.id, kind, 1, 2500, Progress.PENDING, "", 0, began)


def test_only_what_stripe_documents_is_sent(listener: Listener) -> None:
    connection: Any = listener
    provider = StripeProvider(connection, FixedClock(NOW), timedelta(hours=20))
    asked = Payment.asked(uuid7(), uuid7(), uuid7(), Money(2500, "USD"), "pm_card_visa")
    held = replace(asked, reference="pi_1")
    assert provider.ask(asked, _attempt(asked, Kind.AUTHORIZE)) == Done("pi_1", 2500, "card")
    long_ago = NOW - timedelta(days=2)
    assert provider.ask(asked, _attempt(asked, Kind.AUTHORIZE, long_ago)) == Refused("never_arrived")
    for kind in (Kind.CAPTURE, Kind.CANCEL, Kind.REFUND):
        assert isinstance(provider.ask(held, _attempt(held, kind)), Refused)
    assert not provider.let_go("pi_1")
    assert not provider.records(long_ago, NOW)
    sent = {name for name, _ in listener.asked}
    assert sent == {
        *("PaymentIntentCreateParams", "PaymentIntentCaptureParams", "PaymentIntentCancelParams"),
        *("PaymentIntentRetrieveParams", "PaymentIntentSearchParams", "PaymentIntentListParams"),
        *("RefundCreateParams", "RefundListParams"),
    }
    for name, params in listener.asked:
        assert set(params) <= set(getattr(documented, name).__annotations__), name
