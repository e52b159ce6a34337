"""The audit that is always on, and the repairs that it asks for, with doubles of the database and of the services."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from auditor.provider import NoProviderLog, ProviderLog, provider_log
from auditor.repairs import Repairs
from auditor.watch import DURATION, FINDINGS, LAST_RUN, Watch
from mercato.api.ops.v1 import ops_pb2_grpc
from mercato.api.payment.v1 import payment_pb2
from mercato.audit import Finding, Report, Verdict
from mercato.errors import NotFound

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LOST = Finding("I12_dead_order_keeps_no_stock", "mesh", "order", "o-1", "COMMITTED", "compensate")
UNPAID = Finding("I1_provider_has_done_it", "mesh", "payment", "p-1", "PENDING", "reconcile")
ODD = Finding("I1_ledger_balanced", "payments", "ledger transaction", "t-1", "1 USD")


def report(*findings: Finding, seconds: float = 0.1) -> Report:
    rules = {(each.schema, each.rule) for each in (LOST, UNPAID, ODD)}
    verdicts = [
        Verdict.of(rule, schema, [each for each in findings if each.rule == rule]) for schema, rule in sorted(rules)
    ]
    return Report(verdicts, seconds)


@dataclass
class Scripted:
    """An auditor that finds what it is told."""

    reports: list[Report]
    audits: int = 0

    def audit(self) -> Report:
        self.audits += 1
        return self.reports.pop(0)

    def close(self) -> None:
        pass


def test_an_audit_is_due_every_minute() -> None:
    auditor = Scripted([report(), report()])
    watch = Watch(auditor, MINUTE)
    for seconds in (0, 1, 59, 60, 61):
        watch.run_once(NOON + timedelta(seconds=seconds))
    assert auditor.audits == 2


def test_an_audit_that_takes_long_is_made_less_often() -> None:
    auditor = Scripted([report(seconds=30), report()])
    watch = Watch(auditor, MINUTE)
    for minutes in (0, 1, 9, 10):
        watch.run_once(NOON + minutes * MINUTE)
    assert auditor.audits == 2


def test_metrics_say_what_was_found_and_when() -> None:
    watch = Watch(Scripted([report(LOST, ODD, seconds=2.5), report(ODD)]), MINUTE)
    watch.run_once(NOON)
    assert FINDINGS.value("mesh/I12_dead_order_keeps_no_stock") == 1
    assert (LAST_RUN.value(), DURATION.value()) == (NOON.timestamp(), 2.5)
    watch.run_once(NOON + MINUTE)
    assert FINDINGS.value("mesh/I12_dead_order_keeps_no_stock") == 0
    assert FINDINGS.value("payments/I1_ledger_balanced") == 1


def test_a_finding_is_an_error_in_the_log_once_and_a_settled_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(Scripted([report(ODD), report(ODD), report()]), MINUTE)
    for minute in range(3):
        watch.run_once(NOON + minute * MINUTE)
    said = capsys.readouterr().out
    assert said.count("audit.finding") == 1
    assert said.count("audit.settled") == 1


@dataclass
class Services:
    """What is asked of the services."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    known: bool = True

    def stub(self, cls: Any, _: object = None, callee: str = "") -> Any:
        assert callee == ("order" if cls is ops_pb2_grpc.OpsServiceStub else "")
        return self

    def RetryStuck(self, request: Any, **_: Any) -> None:
        self._ask("retry", request.id)

    def ReconcilePayments(self, request: Any, **_: Any) -> None:
        self._ask("reconcile", request.date)

    def GetPayment(self, request: Any, **_: Any) -> payment_pb2.Payment:
        self._ask("get", request.id)
        payment = payment_pb2.Payment(id=request.id)
        payment.create_time.FromDatetime(NOON)
        return payment

    def _ask(self, what: str, about: str) -> None:
        if not self.known:
            raise NotFound(about)
        self.asked.append((what, about))


def test_the_owner_is_asked_to_repair_what_safely_can_be() -> None:
    services = Services()
    outcome = Repairs(services).repair([LOST, UNPAID, ODD])
    assert services.asked == [("retry", "o-1"), ("get", "p-1"), ("reconcile", "2026-01-05")]
    assert outcome == {LOST: "asked for", UNPAID: "asked for"}


def test_a_repair_that_is_refused_is_told_and_costs_the_others_nothing() -> None:
    outcome = Repairs(Services(known=False)).repair([LOST, UNPAID])
    assert [text.partition(":")[0] for text in outcome.values()] == ["NOT_FOUND", "NOT_FOUND"]


def test_a_provider_that_does_not_answer_is_no_empty_log() -> None:
    silent = provider_log("http://127.0.0.1:9")
    with pytest.raises(NoProviderLog, match="does not answer"):
        silent.read_on(NOON)


def line(number: int, did: str, amount: int, **more: Any) -> dict[str, Any]:
    labels = {"payment_intent": "pi_1", "payment_id": "", "currency": "usd", "refund": "", "refund_id": ""}
    return {"line": number, "time": 1.0 * number, "did": did, "amount": amount, **labels, **more}


def test_the_providers_record_of_a_payment_is_the_sum_of_its_lines() -> None:
    lines = [line(1, "authorize", 500), line(2, "capture", 400), line(3, "refund", 150, refund="re_1")]
    log = ProviderLog(lambda after: [each for each in lines if each["line"] > after])
    log.read_on(NOON)
    assert [each.row for each in log.records] == [("pi_1", None, "succeeded", "USD", 500, 400, 150)]
    lines.append(line(4, "refund", 250, refund="re_2"))
    log.read_on(NOON)
    assert [each.refunded for each in log.records] == [400]


def test_the_first_audit_waits_until_the_mesh_has_begun() -> None:
    auditor = Scripted([report()])
    watch = Watch(auditor, MINUTE, patience=MINUTE)
    watch.run_once(NOON)
    watch.run_once(NOON + timedelta(seconds=59))
    assert auditor.audits == 0
    watch.run_once(NOON + MINUTE)
    assert auditor.audits == 1
