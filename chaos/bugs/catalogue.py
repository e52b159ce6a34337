"""The bugs: what each makes of the code, the scenario that leads there, and the invariant that is then found broken.

It imports nothing of what it changes: a process with a bug in it reads this before anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.bugs.seeding import Edit


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake that somebody could make."""

    name: str
    says: str
    edits: tuple[Edit, ...]
    scenario: str
    """The function of that name in `chaos.bugs.scenarios`."""
    caught_by: frozenset[str]
    schema: str = ""
    """What the database would lack in a build with this bug: its last line of defence."""

    @property
    def processes(self) -> list[str]:
        """The services that it is in; a bug of the chassis is in that of orders, which does most with it."""
        services = {edit.module.split(".")[1] for edit in self.edits if edit.module.startswith("services.")}
        return sorted(services) or ["order"]


def _bug(name: str, says: str, scenario: str, caught_by: str, *edits: tuple[str, str, str], schema: str = "") -> Bug:
    return Bug(name, says, tuple(Edit(*each) for each in edits), scenario, frozenset(caught_by.split()), schema)


BUGS: Sequence[Bug] = (
    _bug(
        "publish_before_commit",
        "events are written by a transaction of their own, before that of the change is committed",
        "commit_fails",
        "I8",
        (
            "mercato.postgres",
            "        insert(self.connection, self._outgoing)\n",
            ("        with self._database.reading() as early:\n            insert(early, self._outgoing)\n"),
        ),
    ),
    _bug(
        "journal_before_kafka",
        "the relay counts events as published before Kafka has them",
        "kafka_is_away",
        "I8",
        (
            "mercato.outbox",
            "                    self._publisher.publish(rows)\n",
            "                    self._move(connection, rows)\n                    self._publisher.publish(rows)\n",
        ),
    ),
    _bug(
        "backwards_relay",
        "the relay reads the outbox from its end",
        "kafka_is_away",
        "I9",
        ("mercato.outbox", '    order by o.id"""', '    order by o.id desc"""'),
    ),
    _bug(
        "cursor_by_position",
        "subscriptions do not wait for transactions that began earlier",
        "commits_out_of_order",
        "I11",
        (
            "mercato.event_store.postgres",
            "    where (xid, position) > (%s::text::xid8, %s) and xid < pg_snapshot_xmin(pg_current_snapshot())\n",
            "    where (xid, position) > (%s::text::xid8, %s)\n",
        ),
        (
            "mercato.projection.projector",
            " and e.xid < pg_snapshot_xmin(pg_current_snapshot()))",
            ")",
        ),
    ),
    _bug(
        "no_expected_version",
        "an event is appended after whatever is there",
        "cancel_races_picking",
        "I9 I12",
        (
            "mercato.event_store.postgres",
            "    select new.*, greatest(",
            (
                "    select new.stream_id, coalesce(tail.version, 0) as expected,\n"
                "           coalesce(tail.version, 0) + new.version - new.expected as version,\n"
                "           new.id, new.type, new.schema, new.payload, greatest("
            ),
        ),
        (
            "mercato.event_store.postgres",
            "where coalesce(tail.version, 0) = new.expected),",
            "where coalesce(tail.version, 0) >= new.expected),",
        ),
        (
            "mercato.event_store.postgres",
            "                raise WrongExpectedVersion(each.stream_id, each.expected)\n",
            "                return self.append_all([each])\n",
        ),
        schema="drop index orders.outbox_version_key",
    ),
    _bug(
        "no_tombstone",
        "releasing an unknown reservation leaves nothing behind",
        "release_overtakes",
        "I12",
        (
            "services.inventory.usecases",
            "            work.reservations.bury(*(each for each in now.values() if each.id not in locked))\n",
            "",
        ),
    ),
    _bug(
        "expiry_ignores_committed",
        "the sweeper lets committed reservations run out, too",
        "hold_runs_out",
        "I12",
        (
            "services.inventory.statements",
            "        where state = 'HELD' and expire_time <= now()\n        order by expire_time\n",
            "        where state in ('HELD', 'COMMITTED') and expire_time <= now()\n        order by expire_time\n",
        ),
        (
            "services.inventory.statements",
            "where state = 'HELD' and expire_time <= now())",
            "where state in ('HELD', 'COMMITTED') and expire_time <= now())",
        ),
    ),
    _bug(
        "confirmed_without_commit",
        "an order is confirmed though its stock is only held",
        "hold_runs_out",
        "I12",
        ("services.order.checkout", "        self._inventory.commit_reservation(reservation_id)\n", ""),
    ),
    _bug(
        "new_key_per_attempt",
        "the provider is asked again with another key",
        "provider_hangs",
        "I1",
        (
            "services.payment.domain",
            '-{self.kind.lower()}-{self.number}"',
            '-{self.kind.lower()}-{self.number}-" + __import__("uuid").uuid4().hex',
        ),
    ),
    _bug(
        "unknown_taken_for_no",
        "a provider that says nothing has declined",
        "provider_hangs",
        "I1",
        (
            "services.payment.connection",
            "            raise _silence(failure) from failure\n",
            '            raise No("no_answer") from failure\n',
        ),
    ),
    _bug(
        "no_fence",
        "whoever hears the provider's answer writes it down, though somebody has",
        "provider_is_slow",
        "I1",
        ("services.payment.resolution", "if held.state is not Progress.PENDING:", "if False:"),
    ),
    _bug(
        "late_success_kept",
        "money that was reserved for a payment given up meanwhile stays reserved",
        "void_overtakes",
        "I1",
        ("services.payment.outcome", "cancel=True, alarm=alarm)", "cancel=False, alarm=alarm)"),
    ),
    _bug(
        "unbooked_void",
        "the ledger does not hear of a payment that is given up",
        "cancelled_without_inventory",
        "I1",
        (
            "services.payment.outcome",
            "    return Change(after, bookings, Happened.VOIDED, cancel=not after.cash)\n",
            "    return Change(after, (), Happened.VOIDED, cancel=not after.cash)\n",
        ),
    ),
    _bug(
        "capture_above_picked",
        "what was ordered is captured, whatever was picked",
        "short_pick",
        "I12 I1",
        (
            "services.order.fulfilment",
            "            self._payments.capture_payment(payment_id, order.due)\n",
            "            self._payments.capture_payment(payment_id, order.total)\n",
        ),
    ),
    _bug(
        "refund_twice",
        "a refund that is asked for again is another refund",
        "return_unanswered",
        "I1",
        (
            "services.order.stubs",
            "reason=reason, request_id=str(request_id)",
            'reason=reason, request_id=__import__("uuid").uuid4().hex',
        ),
    ),
    _bug(
        "courier_before_money",
        "the courier may come before the money is taken",
        "capture_is_refused",
        "I12",
        (
            "services.order.fulfilment",
            "        try:\n            payment_method = self._pay(order)\n",
            (
                "        self._deliveries.ready_shipment(order.shipment_id or shipment_of(order.id), order.cash_due)\n"
                "        try:\n            payment_method = self._pay(order)\n"
            ),
        ),
    ),
    _bug(
        "lost_compensation",
        "what cannot be given up at once is forgotten",
        "cancelled_without_inventory",
        "I12",
        ("services.order.checkout", "    if failures:\n        raise failures[0]\n", ""),
    ),
    _bug(
        "forgotten_place",
        "a cancelled order keeps its place in the slot",
        "cancelled_without_inventory",
        "I12",
        (
            "services.order.checkout",
            "            lambda: self._deliveries.release_slot(hold_of(order.id)),\n",
            "",
        ),
    ),
    _bug(
        "ack_before_commit",
        "a consumer moves on before the effect is committed",
        "listener_stumbles",
        "I12",
        (
            "mercato.consumer",
            "            advanced = self._books.advance(work.connection, self.places, records)\n            deliveries",
            (
                "            with self._work() as early:\n"
                "                advanced = self._books.advance(early.connection, self.places, records)\n"
                "            self.places.update(advanced)\n            deliveries"
            ),
        ),
    ),
    _bug(
        "no_dedupe",
        "a key that was used makes another order",
        "asked_twice",
        "I5",
        ("mercato.idempotency", "    if made is None:\n", "    if True:\n"),
    ),
    _bug(
        "no_high_water_mark",
        "an event that was overtaken is applied when it comes again",
        "relay_comes_back",
        "I11",
        (
            "mercato.bookkeeping",
            "            if each.version <= marks.get(key, 0):\n                continue\n",
            "",
        ),
        ("services.product.levels", "where excluded.sequence > l.sequence", "where true"),
    ),
    # These two leave a mesh behind in which others cannot be tried as well.
    _bug(
        "missing_available",
        "stock is taken without a look at what is available",
        "last_unit",
        "I3",
        ("services.inventory.statements", "where s.available >= w.quantity) =", "where true) ="),
        ("services.inventory.statements", "from level where available >= quantity) =", "from level where true) ="),
        ("services.inventory.domain", "if change.after.available < 0:", "if False:"),
        schema="alter table inventory.stock drop constraint stock_available",
    ),
    _bug(
        "forgotten_task",
        "what gave no answer is not asked again",
        "payment_is_away",
        "I6",
        (
            "services.order.process",
            "work.process.postpone(task,",
            "(work.process.end([task]),",
        ),
    ),
)


def bug_named(name: str) -> Bug:
    """The bug of a name. KeyError."""
    return {bug.name: bug for bug in BUGS}[name]


def edits_of(name: str) -> Sequence[Edit]:
    """What a bug changes. KeyError."""
    return bug_named(name).edits
