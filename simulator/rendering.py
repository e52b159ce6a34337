"""Records as Stripe's JSON objects."""

from __future__ import annotations

from typing import assert_never

from simulator.record import Charge, Intent, Json, Record, Refund


def render(record: Record) -> Json:
    """The object as a client of the API sees it."""
    match record:
        case Intent():
            return _intent(record)
        case Charge():
            return _charge(record)
        case Refund():
            return _refund(record)
        case _:
            assert_never(record)


def _intent(intent: Intent) -> Json:
    declined = intent.status == "requires_payment_method"
    return {
        "id": intent.id,
        "object": intent.object,
        "amount": intent.amount,
        "amount_capturable": intent.capturable,
        "amount_received": intent.received,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "client_secret": f"{intent.id}_secret_test",
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "description": intent.description,
        "latest_charge": intent.charge,
        "livemode": False,
        "metadata": intent.metadata,
        "payment_method": None if declined else intent.payment_method,
        "payment_method_types": ["card"],
        "status": intent.status,
    }


def _charge(charge: Charge) -> Json:
    paid = charge.decline_code is None
    return {
        "id": charge.id,
        "object": charge.object,
        "amount": charge.amount,
        "amount_captured": charge.captured,
        "amount_refunded": charge.amount if charge.voided else charge.refunded,
        "captured": charge.captured > 0,
        "created": charge.created,
        "currency": charge.currency,
        "failure_code": None if paid else "card_declined",
        "failure_message": charge.failure,
        "livemode": False,
        "metadata": charge.metadata,
        "outcome": {
            "network_status": "approved_by_network" if paid else "declined_by_network",
            "reason": charge.decline_code,
            "type": "authorized" if paid else "issuer_declined",
        },
        "paid": paid,
        "payment_intent": charge.intent,
        "payment_method": charge.payment_method,
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242", "funding": "credit"}},
        "refunded": charge.voided or 0 < charge.captured == charge.refunded,
        "status": "succeeded" if paid else "failed",
    }


def _refund(refund: Refund) -> Json:
    return {
        "id": refund.id,
        "object": refund.object,
        "amount": refund.amount,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "metadata": refund.metadata,
        "payment_intent": refund.intent,
        "reason": refund.reason,
        "status": "succeeded",
    }
