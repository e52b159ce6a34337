"""Repairs that are safe: the service that owns what is wrong is asked to look again. The auditor itself writes nothing.

    requeue, compensate   the order is put back into its process, which asks all neighbours again, with the same ids:
                          what was done has no second effect, and what was not done is done
    reconcile             payment compares the payment's day with the provider's list, and takes over what it says

What is for humans has no repair here.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import grpc

from mercato import log
from mercato.api.ops.v1 import ops_pb2, ops_pb2_grpc
from mercato.api.payment.v1 import payment_pb2, payment_pb2_grpc
from mercato.audit import HUMAN, Finding
from mercato.errors import MercatoError
from mercato.rpc.call import Principal

S = TypeVar("S")
AUDITOR = Principal("00000000-0000-7000-8000-0000000000a0", frozenset({"admin", "finance"}))
PATIENCE = 20.0  # seconds
_log = log.get(__name__)


class Stubs(Protocol):
    """Where stubs come from: an operator's channels."""

    def stub(self, cls: Callable[[grpc.Channel], S], principal: Principal | None = None, callee: str = "") -> S:
        """A stub of a generated class, for a principal, of the service that is called."""


class Repairs:
    """Has things put right."""

    def __init__(self, channels: Stubs) -> None:
        """Ask by the channels of an operator."""
        self._orders = channels.stub(ops_pb2_grpc.OpsServiceStub, AUDITOR, callee="order")
        self._payments = channels.stub(payment_pb2_grpc.PaymentServiceStub, AUDITOR)
        self._known: Mapping[str, Callable[[str], None]] = {
            "requeue": self._requeue,
            "compensate": self._requeue,
            "reconcile": self._reconcile,
        }

    def repair(self, findings: Iterable[Finding]) -> dict[Finding, str]:
        """What became of each that is not for humans: `asked for`, or why it could not be."""
        return {finding: self._repair(finding) for finding in findings if finding.repair != HUMAN}

    def _repair(self, finding: Finding) -> str:
        try:
            self._known[finding.repair](finding.id)
        except MercatoError as trouble:
            _log.warning("audit.not_repaired", rule=finding.rule, id=finding.id, why=str(trouble))
            return f"{trouble.reason}: {trouble.message}"
        _log.info("audit.repair", rule=finding.rule, id=finding.id, repair=finding.repair)
        return "asked for"

    def _requeue(self, order_id: str) -> None:
        self._orders.RetryStuck(ops_pb2.RetryStuckRequest(service="order", id=order_id), timeout=PATIENCE)

    def _reconcile(self, payment_id: str) -> None:
        asked = payment_pb2.GetPaymentRequest(id=payment_id)
        made = self._payments.GetPayment(asked, timeout=PATIENCE).create_time
        day = datetime.fromtimestamp(made.seconds, UTC).date().isoformat()
        self._payments.ReconcilePayments(payment_pb2.ReconcilePaymentsRequest(date=day), timeout=PATIENCE)
