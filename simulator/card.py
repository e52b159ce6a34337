"""The test tokens: what each card does, and which fault comes with it."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.problem import InvalidRequest


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a card says no."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Card:
    """What happens when this card is charged."""

    declines: Decline | None = None
    captures: bool = True
    hangs: bool = False
    slow: bool = False
    flaky: bool = False
    tells_late: bool = False


_DECLINED = Decline("generic_decline", "Your card was declined.")
_NO_FUNDS = Decline("insufficient_funds", "Your card has insufficient funds.")

CARDS = {
    "pm_card_visa": Card(),
    "pm_card_visa_chargeDeclined": Card(declines=_DECLINED),
    "pm_card_chargeDeclinedInsufficientFunds": Card(declines=_NO_FUNDS),
    "pm_card_visa_chargeDeclinedInsufficientFunds": Card(declines=_NO_FUNDS),
    # Done, then silence: only asking again with the same key tells what became of it.
    "pm_timeout_then_success": Card(hangs=True),
    "pm_timeout_then_decline": Card(declines=_DECLINED, hangs=True),
    "pm_slow": Card(slow=True),
    # Fails before anything is done, so Stripe's rule "what was begun is remembered" leaves the key free.
    "pm_flaky": Card(flaky=True),
    # Authorises; the capture is refused, every time.
    "pm_capture_fails": Card(captures=False),
    # Pays like any other; what is told of it by webhook comes late.
    "pm_late_webhook": Card(tells_late=True),
}


def card(token: str) -> Card:
    """The card behind a token."""
    if token not in CARDS:
        raise InvalidRequest(f"No such PaymentMethod: '{token}'", code="resource_missing", param="payment_method")
    return CARDS[token]
