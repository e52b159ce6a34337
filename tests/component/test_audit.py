"""The auditor against a shop with a past: a clean one gives no finding, and each thing that is broken gives its own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from auditor.mesh import SCHEMAS, Auditor
from auditor.provider import ProviderLog
from auditor.topics import NoTopics, Places, Reader, Row, Topics
from benchmarks.past import fill
from mercato.api.order.v1 import order_pb2
from mercato.audit import MESH, BadRule, Report, default_folder, rules, run, snapshot
from mercato.money import Money
from mercato.wire import money_to_pb
from tests.servers import FreshDatabase, PostgresServer

ORDERS = 60
Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Shop:
    """A shop with a past, and what its provider says of it."""

    database: FreshDatabase
    lines: Lines = field(default_factory=list)

    def audit(self, grace: timedelta = timedelta(0)) -> Report:
        source = ProviderLog(lambda after: [line for line in self.lines if line["line"] > after])
        auditor = Auditor(self.database.url_of_auditor, source, grace)
        try:
            return auditor.audit()
        finally:
            auditor.close()

    def audit_if(self, statement: str) -> Report:
        """What an audit would find if the statement had been run."""
        with psycopg.connect(self.database.url) as connection:
            auditor = Auditor("", ProviderLog(lambda _: self.lines), timedelta(0))
            connection.execute("set local session_replication_role = replica")
            connection.execute(statement.encode())
            auditor.prepare(connection)
            report = auditor.examine(connection)
            connection.rollback()
        return report

    def change(self, statement: str) -> None:
        with psycopg.connect(self.database.url) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(statement.encode())


@pytest.fixture(scope="module")
def clean(postgres: PostgresServer) -> Shop:
    database = postgres.fresh()
    return Shop(database, fill(database.url, ORDERS))


@pytest.fixture
def shop(postgres: PostgresServer, clean: Shop) -> Shop:
    return Shop(postgres.copy_of(clean.database), list(clean.lines))


# One order of a state, by what else it is: the first, so that every run breaks the same.
ONE = """create or replace temp view one as
    select v.order_id, v.state, p.id as payment_id, p.method, r.id as reservation_id, h.id as hold_id,
           s.id as shipment_id, r.skus[1] as sku
    from orders.order_view v
    left join payments.payment p using (order_id) left join inventory.reservation r using (order_id)
    left join delivery.hold h using (order_id) left join delivery.shipment s using (order_id);
create temp table {name} as select * from one where {which} order by order_id limit 1;
"""


def one(which: str, name: str = "it") -> str:
    return ONE.format(which=which, name=name)


CONFIRMED, CANCELLED, DELIVERED = (one(f"state = '{state}'") for state in ("CONFIRMED", "CANCELLED", "DELIVERED"))
CARD = one("state = 'DELIVERED' and method <> 'cash_on_delivery'")
AT_WORK = """insert into orders.process (order_id, version, kind, lease_until, request_id)
    select order_id, 1, 'CHECK_OUT', now() + interval '1 minute', '' from it;"""
PLACE = "update delivery.slot set taken = taken {};"
STOCK = "update inventory.stock set {0}, sequence = sequence + 1 from it where stock.sku = it.sku;"

# Rule → what breaks it, and nothing else that is not named beside it.
BREAKS: dict[str, tuple[str, set[str]]] = {
    "orders/I8_outbox_published": (
        """insert into orders.outbox (bucket, topic, aggregate_id, version, event_id, type, payload, headers,
            create_time)
        values (1, 'mercato.order.v1', 'x', 1, gen_random_uuid(), 'x', '', '{}', now() - interval '1 hour')""",
        set(),
    ),
    "orders/I8_told_once": (
        CONFIRMED
        + """insert into orders.outbox_journal
        select bucket, id + 1, topic, aggregate_id, version + 1, event_id, type, payload, headers, create_time
        from orders.outbox_journal where aggregate_id = (select order_id::text from it) and version = 2""",
        set(),
    ),
    "orders/I9_versions_rise": (
        DELIVERED
        + """update orders.outbox_journal set id = id + 50
        where aggregate_id = (select order_id::text from it) and version = 1""",
        set(),
    ),
    "orders/I10_nothing_parked": (
        """insert into orders.parked_event (consumer, topic, topic_id, partition, record_offset, aggregate_id, version,
            type, payload, headers, reason, create_time)
        values ('c', 't', 'i', 0, 0, 'a', 1, 'x', '', '{}', 'why', now() - interval '1 hour')""",
        set(),
    ),
    "orders/I7_versions_have_no_gap": (
        DELIVERED + "delete from orders.events using it where stream_id = order_id and version = 3",
        set(),
    ),
    "orders/I7_event_ids_differ": (
        DELIVERED
        + """drop index orders.events_event_id; update orders.events e set event_id = f.event_id
        from orders.events f, it where e.stream_id = order_id and e.version = 3 and f.stream_id = order_id
        and f.version = 2""",
        set(),
    ),
    "orders/I7_stream_begins_with_placing": (
        DELIVERED + "update orders.events set type = 'OrderPlaced' from it where stream_id = order_id and version = 3",
        set(),
    ),
    "orders/I11_view_is_the_stream": (
        CANCELLED
        + """insert into orders.events (stream_id, version, event_id, type, schema, payload)
        select order_id, 5, gen_random_uuid(), 'PaymentNoted', 1, '' from it""",
        set(),
    ),
    "orders/I6_task_is_taken": (
        DELIVERED
        + """insert into orders.process (order_id, version, kind, next_run_at, lease_until, request_id)
        select order_id, 1, 'SHIP', now() - interval '1 hour', now() - interval '1 hour', '' from it""",
        set(),
    ),
    "orders/I6_checkout_ends": (
        DELIVERED
        + """insert into orders.process (order_id, version, kind, next_run_at, lease_until, deadline_at, request_id)
        select order_id, 1, 'CHECK_OUT', now() + interval '1 hour', now(), now() - interval '1 hour', '' from it""",
        set(),
    ),
    "orders/I6_pending_is_worked_on": (
        one("state = 'PAYMENT_DUE'")
        + """delete from orders.events using it where stream_id = order_id and version = 6;
        update orders.order_view v set state = 'PICKING', version = 5 from it where v.order_id = it.order_id""",
        {"I11_document_is_the_order"},
    ),
    "orders/I5_one_order_a_key": (
        DELIVERED
        + "update orders.idempotency set resource_id = gen_random_uuid() from it where resource_id = order_id::text",
        set(),
    ),
    "inventory/I2_stock_is_its_movements": (DELIVERED + STOCK.format("on_hand = on_hand + 1"), set()),
    "inventory/I2_reserved_is_claimed": (
        DELIVERED
        + STOCK.format("reserved = reserved + 1")
        + """insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select sku, 'centre', 'ADJUSTED', 0, 1, 'x' from it""",
        set(),
    ),
    "inventory/I2_claim_is_moved": (
        CANCELLED
        + """update inventory.movement m set reference = gen_random_uuid() from it
        where reference = reservation_id::text and m.sku = it.sku and kind = 'RESERVED'""",
        set(),
    ),
    "inventory/I3_nothing_below_zero": (
        CONFIRMED
        + """alter table inventory.stock drop constraint stock_available;
        insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select s.sku, 'centre', 'ADJUSTED', reserved - 1 - on_hand, 0, 'x'
        from inventory.stock s join it using (sku);"""
        + STOCK.format("on_hand = reserved - 1"),
        {"I3_no_more_sold_than_came"},
    ),
    "inventory/I5_returned_once": (
        DELIVERED
        + STOCK.format("on_hand = on_hand + 1")
        + """insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select sku, 'centre', 'RESTOCKED', 1, 0, gen_random_uuid() from it""",
        set(),
    ),
    "inventory/I6_holds_run_out": (
        CONFIRMED + AT_WORK + "update inventory.reservation set state = 'HELD' from it where id = reservation_id",
        set(),
    ),
    "payments/I1_ledger_balanced": (
        DELIVERED
        + "update payments.ledger_entry e set amount = amount + 1 from it where e.payment_id = it.payment_id"
        + " and account = 'promised' and side = 'CREDIT'",
        set(),
    ),
    "payments/I1_amounts_in_order": (
        CANCELLED
        + """alter table payments.payment drop constraint payment_check;
        update payments.payment set authorized = amount + 1 from it where id = payment_id""",
        set(),
    ),
    "payments/I1_payment_is_booked": (
        CARD
        + one("state = 'PAYMENT_DUE'", "other")
        + """update payments.ledger_entry e set payment_id = other.payment_id from it, other
        where e.payment_id = it.payment_id and transaction_id in (
            select transaction_id from payments.ledger_entry where account = 'sales')""",
        set(),
    ),
    "payments/I1_attempts_explain": (
        CARD + "delete from payments.attempt a using it where a.payment_id = it.payment_id and kind = 'CAPTURE'",
        set(),
    ),
    "payments/I5_done_once": (
        CARD
        + """insert into payments.attempt (id, payment_id, kind, number, amount, state, due_time)
        select gen_random_uuid(), payment_id, 'CAPTURE', 2, 1, 'DONE', now() from it""",
        set(),
    ),
    "payments/I6_attempts_end": (
        CANCELLED
        + """insert into payments.attempt (id, payment_id, kind, number, amount, due_time)
        select gen_random_uuid(), payment_id, 'CANCEL', 2, 1, now() - interval '1 hour' from it""",
        set(),
    ),
    "delivery/I3_places_are_held": (PLACE.format("- 1"), set()),
    "delivery/I6_holds_run_out": (
        CONFIRMED + AT_WORK + "update delivery.hold set state = 'HELD' from it where id = hold_id",
        set(),
    ),
    "delivery/I5_one_shipment_under_way": (
        CONFIRMED
        + """insert into delivery.shipment (id, order_id, customer_id, slot_id, state)
        select gen_random_uuid(), order_id, customer_id, slot_id, state from delivery.shipment
        where id = (select shipment_id from it)""",
        set(),
    ),
    "catalog/I11_prices_of_variants": (
        """insert into catalog.product (id, title, description, brand, attributes, state, lowest, highest, document,
            version, events) values (gen_random_uuid(), 'Bread', '', '', '{}', 'DRAFT', 5, 9, '', 1, 1)""",
        set(),
    ),
    "mesh/I12_live_order_has_its_stock": (
        CONFIRMED
        + """insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select s.sku, 'centre', 'RELEASED', 0, -s.quantity, id::text
        from inventory.reservation r join it on id = reservation_id
        cross join unnest(skus, quantities) as s (sku, quantity);
        update inventory.stock t set reserved = reserved - s.quantity, sequence = sequence + 1
        from inventory.reservation r join it on id = reservation_id
        cross join unnest(skus, quantities) as s (sku, quantity) where t.sku = s.sku;
        update inventory.reservation set state = 'RELEASED' from it where id = reservation_id""",
        {"I2_order_is_reserved"},
    ),
    "mesh/I12_live_order_has_its_money": (
        CONFIRMED
        + """update payments.payment set state = 'VOIDED' from it where id = payment_id;
        insert into payments.ledger_entry (id, transaction_id, payment_id, account, side, amount, currency)
        select gen_random_uuid(), t, payment_id, account, case side when 'DEBIT' then 'CREDIT' else 'DEBIT' end, amount,
               currency
        from payments.ledger_entry join it using (payment_id), (select gen_random_uuid() as t) as t""",
        {"I1_provider_has_done_it"},
    ),
    "mesh/I12_live_order_has_its_place": (
        CONFIRMED + PLACE.format("- 1") + "update delivery.hold set state = 'RELEASED' from it where id = hold_id",
        set(),
    ),
    "mesh/I12_live_order_has_its_shipment": (
        CONFIRMED + "delete from delivery.shipment using it where id = shipment_id",
        set(),
    ),
    "mesh/I12_dead_order_keeps_no_stock": (
        CANCELLED
        + """insert into inventory.movement (sku, warehouse_id, kind, on_hand_delta, reserved_delta, reference)
        select s.sku, 'centre', 'RESERVED', 0, s.quantity, id::text
        from inventory.reservation r join it on id = reservation_id
        cross join unnest(skus, quantities) as s (sku, quantity);
        update inventory.stock t set reserved = reserved + s.quantity, sequence = sequence + 1
        from inventory.reservation r join it on id = reservation_id
        cross join unnest(skus, quantities) as s (sku, quantity) where t.sku = s.sku;
        update inventory.reservation set state = 'COMMITTED' from it where id = reservation_id""",
        set(),
    ),
    "mesh/I12_dead_order_keeps_no_money": (
        one("state = 'REJECTED' and payment_id is not null")
        + """update payments.payment set state = 'PENDING' from it where id = payment_id;
        insert into payments.attempt (id, payment_id, kind, number, amount, due_time)
        select gen_random_uuid(), payment_id, 'AUTHORIZE', 2, 1, now() + interval '1 hour' from it""",
        set(),
    ),
    "mesh/I12_dead_order_keeps_no_place": (
        CANCELLED
        + PLACE.format("+ 1, capacity = capacity + 1")
        + "update delivery.hold set state = 'CONFIRMED' from it where id = hold_id",
        set(),
    ),
    "mesh/I12_dead_order_keeps_no_shipment": (
        CANCELLED + "update delivery.shipment set state = 'PLANNED' from it where id = shipment_id",
        set(),
    ),
    "mesh/I12_nothing_without_an_order": (
        """insert into delivery.hold (id, order_id, slot_id, state, expire_time)
        select gen_random_uuid(), gen_random_uuid(), id, 'CONFIRMED', now() from delivery.slot;"""
        + PLACE.format("+ 1, capacity = capacity + 1"),
        set(),
    ),
    "mesh/I1_sums_agree": (
        CARD
        + """update payments.ledger_entry e set account = 'elsewhere' from it
        where e.payment_id = it.payment_id and account = 'provider_balance'""",
        set(),
    ),
    "mesh/I5_one_of_each": (
        one("state = 'PAYMENT_DUE'")
        + """insert into payments.payment (id, order_id, customer_id, payment_method, method, state, currency, amount,
            authorized, version)
        select gen_random_uuid(), order_id, customer_id, 'cash_on_delivery', 'cash_on_delivery', 'AUTHORIZED', 'USD', 5,
            5, 2 from payments.payment where id = (select payment_id from it);
        insert into payments.ledger_entry (id, transaction_id, payment_id, account, side, amount, currency)
        select gen_random_uuid(), t, p.id, account, side, 5, 'USD' from payments.payment p,
            (values ('customer_receivable', 'DEBIT'), ('promised', 'CREDIT')) as b (account, side),
            (select gen_random_uuid() as t) as t where p.amount = 5""",
        set(),
    ),
    "mesh/I2_order_is_reserved": (
        DELIVERED
        + "update inventory.reservation set quantities[1] = quantities[1] + 1 from it where id = reservation_id",
        set(),
    ),
    "mesh/I2_restocked_was_returned": (
        """create temp table it as select id, sku from inventory.movement where kind = 'RESTOCKED' limit 1;"""
        + STOCK.format("on_hand = on_hand + 1")
        + "update inventory.movement m set on_hand_delta = on_hand_delta + 1 from it where m.id = it.id",
        set(),
    ),
    "mesh/I3_no_more_sold_than_came": (
        CONFIRMED
        + """alter table inventory.stock drop constraint stock_on_hand, drop constraint stock_available;
        update inventory.movement m set on_hand_delta = 1 from it where m.sku = it.sku and kind = 'RECEIVED';
        update inventory.stock s set
            on_hand = (select sum(on_hand_delta) from inventory.movement m where m.sku = s.sku),
            sequence = sequence + 1""",
        {"I3_nothing_below_zero"},
    ),
    "mesh/I10_no_effect_of_nothing": (
        DELIVERED
        + """update users.consumer_mark set version = version + 100, day = current_date from it
        where aggregate_id = order_id::text""",
        set(),
    ),
    "mesh/I11_levels_are_the_stock": (
        DELIVERED + "update catalog.level l set available = available + 1 from it where l.sku = it.sku",
        set(),
    ),
    "mesh/I11_open_orders_are_open": (
        CONFIRMED + "delete from users.open_orders o using it where o.order_id = it.order_id",
        set(),
    ),
}


def found(report: Report) -> set[str]:
    return {f"{each.schema}/{each.rule}" for each in report.verdicts if each.count}


def test_a_clean_shop_gives_no_finding(clean: Shop) -> None:
    report = clean.audit()
    assert [str(each) for each in report.findings] == []
    assert report.audited["orders"] == ORDERS
    needs_kafka = {"I8_record_was_committed", "I8_told_is_in_its_topic", "I9_records_rise"}
    assert {each.rule for each in report.verdicts if each.missing} == needs_kafka


@pytest.mark.parametrize("rule", BREAKS)
def test_what_is_broken_is_found_and_nothing_else(clean: Shop, rule: str) -> None:
    statement, others = BREAKS[rule]
    report = clean.audit_if(statement)
    assert rule in found(report)
    names = {name.partition("/")[2] for name in found(report)}
    assert names == {rule.partition("/")[2], *others}, [str(each) for each in report.findings]


def test_money_that_an_order_does_not_know_of_is_found(shop: Shop) -> None:
    with psycopg.connect(shop.database.url) as connection:
        rows = connection.execute("select order_id, document from orders.order_view where state = 'DELIVERED' limit 1")
        order_id, document = rows.fetchone() or (None, b"")
        order = order_pb2.Order.FromString(document)
        order.captured_total.CopyFrom(money_to_pb(Money(1, "USD")))
        told = [order.SerializeToString(), order_id]
        connection.execute("update orders.order_view set document = %s where order_id = %s", told)
    assert [(each.rule, each.id) for each in shop.audit().findings] == [("I1_order_knows_its_money", str(order_id))]


def test_a_document_of_another_version_is_found(shop: Shop) -> None:
    with psycopg.connect(shop.database.url) as connection:
        rows = connection.execute("select order_id, document from orders.order_view where state = 'DELIVERED' limit 1")
        order_id, document = rows.fetchone() or (None, b"")
        order = order_pb2.Order.FromString(document)
        order.version -= 1
        told = [order.SerializeToString(), order_id]
        connection.execute("update orders.order_view set document = %s where order_id = %s", told)
    assert [(each.rule, each.id) for each in shop.audit().findings] == [("I11_document_is_the_order", str(order_id))]


def a_line(shop: Shop, did: str) -> dict[str, Any]:
    return next(line for line in shop.lines if line["did"] == did)


def test_a_capture_that_the_provider_does_not_know_is_found(shop: Shop) -> None:
    lost = a_line(shop, "capture")
    shop.lines.remove(lost)
    assert [(each.rule, each.id) for each in shop.audit().findings] == [("I1_provider_has_done_it", lost["payment_id"])]


def test_a_payment_that_only_the_provider_has_is_found(shop: Shop) -> None:
    extra = {**a_line(shop, "authorize"), "line": len(shop.lines) + 1, "payment_intent": "pi_x"}
    shop.lines.append(extra)
    assert [(each.rule, each.id) for each in shop.audit().findings] == [("I1_provider_did_nothing_else", "pi_x")]


def test_a_refund_that_nobody_asked_for_is_found(shop: Shop) -> None:
    given = a_line(shop, "refund")
    shop.lines.append({**given, "line": len(shop.lines) + 1, "refund": "re_x", "refund_id": ""})
    rules_found = [(each.rule, each.id) for each in shop.audit().findings]
    assert rules_found == [("I1_provider_has_done_it", given["payment_id"]), ("I1_refunds_are_the_providers", "re_x")]


def test_what_the_provider_did_after_the_snapshot_is_left_for_the_next_audit(shop: Shop) -> None:
    later = {**a_line(shop, "authorize"), "line": len(shop.lines) + 1, "payment_intent": "pi_x", "time": 4e9}
    shop.lines.append(later)
    assert shop.audit().clean


def test_without_the_providers_log_the_rules_that_need_it_are_passed_over(clean: Shop) -> None:
    auditor = Auditor(clean.database.url_of_auditor)
    report = auditor.audit()
    auditor.close()
    assert report.clean
    assert {each.rule for each in report.verdicts if each.missing} == {
        "I8_record_was_committed",
        "I8_told_is_in_its_topic",
        "I9_records_rise",
        "I1_provider_has_done_it",
        "I1_provider_did_nothing_else",
        "I1_refunds_are_the_providers",
    }


def test_an_auditor_that_goes_on_reads_only_what_has_changed_and_sees_it(shop: Shop) -> None:
    auditor = Auditor(shop.database.url_of_auditor, ProviderLog(lambda after: shop.lines[after:]), timedelta(0))
    assert auditor.audit().clean
    shop.change(BREAKS["mesh/I12_live_order_has_its_place"][0])
    assert [each.rule for each in auditor.audit().findings] == ["I12_live_order_has_its_place"]
    shop.change(
        "update delivery.hold set state = 'CONFIRMED' where state = 'RELEASED' and order_id in "
        "(select order_id from orders.order_view where state = 'CONFIRMED');" + PLACE.format("+ 1")
    )
    assert auditor.audit().clean
    auditor.close()


def test_history_that_was_changed_between_two_audits_is_found(shop: Shop) -> None:
    auditor = Auditor(shop.database.url_of_auditor, ProviderLog(lambda after: shop.lines[after:]), timedelta(0))
    assert auditor.audit().clean
    shop.change("update orders.events set payload = payload || '\\x00' where version = 3")
    assert [each.rule for each in auditor.audit().findings] == ["I7_history_is_unchanged"]
    auditor.close()


def test_what_is_on_its_way_is_no_finding_within_the_grace(shop: Shop) -> None:
    shop.change("""insert into orders.outbox (bucket, topic, aggregate_id, version, event_id, type, payload, headers)
        values (1, 'mercato.order.v1', 'x', 1, gen_random_uuid(), 'x', '', '{}')""")
    assert shop.audit(timedelta(minutes=5)).clean
    assert [each.rule for each in shop.audit().findings] == ["I8_outbox_published"]


@dataclass
class Told:
    """Kafka, as it carries what the journal of orders says, or something else."""

    shop: Shop
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shop.change("update orders.outbox_journal set create_time = now()")
        with psycopg.connect(self.shop.database.url) as connection:
            read = "select topic, 0, id, aggregate_id, version, event_id, now() from orders.outbox_journal"
            self.rows = [cast("Row", row) for row in connection.execute(read.encode())]

    def read(self, _since: datetime, places: Places) -> Iterator[list[Row]]:
        for row in self.rows:
            if row[2] >= places.get(row[:2], 0):
                yield [row]

    def auditor(self, reader: Reader) -> Auditor:
        source = ProviderLog(lambda after: self.shop.lines[after:])
        return Auditor(self.shop.database.url_of_auditor, source, timedelta(0), topics=Topics(reader))

    def audit(self) -> list[tuple[str, str]]:
        auditor = self.auditor(self.read)
        report = auditor.audit()
        auditor.close()
        return [(each.rule, each.id) for each in report.findings]


def test_what_a_journal_says_lies_in_its_topic_and_nothing_else_does(shop: Shop) -> None:
    told = Told(shop)
    assert told.audit() == []
    lost = told.rows.pop()
    assert told.audit() == [("I8_told_is_in_its_topic", str(lost[5]))]
    told.rows.append((*lost[:5], uuid4(), lost[6]))
    assert {rule for rule, _ in told.audit()} == {"I8_told_is_in_its_topic", "I8_record_was_committed"}


def test_a_reading_of_the_topics_that_breaks_off_leaves_nothing_out(shop: Shop) -> None:
    told, ill = Told(shop), [True]

    def read(since: datetime, places: Places) -> Iterator[list[Row]]:
        for number, rows in enumerate(told.read(since, places)):
            if ill[0] and number == len(told.rows) // 2:
                raise NoTopics("it fell ill")
            yield rows

    auditor = told.auditor(read)
    passed_over = {each.rule for each in auditor.audit().verdicts if each.missing == "it fell ill"}
    assert passed_over == {"I8_record_was_committed", "I8_told_is_in_its_topic", "I9_records_rise"}
    ill[0] = False
    assert auditor.audit().clean
    assert not [each for each in auditor.audit().verdicts if each.missing]
    auditor.close()


def test_an_auditor_that_lost_its_connection_knows_that_its_tables_are_gone(shop: Shop) -> None:
    told = Told(shop)
    auditor = told.auditor(told.read)
    assert auditor.audit().clean
    with psycopg.connect(shop.database.url) as connection:
        connection.execute(
            """select pg_terminate_backend(pid, 30000) from pg_stat_activity
            where application_name = 'auditor' and datname = current_database()"""
        )
    with pytest.raises(psycopg.OperationalError):
        auditor.audit()
    assert auditor.audit().clean
    auditor.close()


def test_records_that_came_in_another_order_are_found_and_repeats_are_not(shop: Shop) -> None:
    told = Told(shop)
    first = next(row for row in told.rows if row[4] == 1)
    told.rows.append((*first[:2], first[2] + 90, *first[3:]))
    assert told.audit() == []
    told.rows.remove(first)
    assert told.audit() == [("I9_records_rise", first[3])] * len([r for r in told.rows if r[3] == first[3]][:1])


def test_a_service_audits_its_own_schema_on_its_own_connection(shop: Shop) -> None:
    shop.change(BREAKS["orders/I7_versions_have_no_gap"][0])
    with psycopg.connect(shop.database.url_of("orders"), autocommit=True) as connection, snapshot(connection):
        assert [each.rule for each in run(connection, "orders")] == ["I7_versions_have_no_gap"]


def test_more_findings_than_are_told_are_counted(shop: Shop) -> None:
    shop.change("""insert into orders.parked_event (consumer, topic, topic_id, partition, record_offset, aggregate_id,
            version, type, payload, headers, reason, create_time)
        select 'c', 't', 'i', 0, n, 'a', 1, 'x', '', '{}', 'why', now() - interval '1 hour'
        from generate_series(1, 250) n""")
    report = shop.audit()
    assert (report.count, len(report.findings)) == (250, 100)


def test_every_rule_is_broken_once_by_these_tests() -> None:
    by_hand = {
        "mesh/I1_order_knows_its_money",
        "mesh/I11_document_is_the_order",
        "mesh/I1_provider_has_done_it",
        "mesh/I1_provider_did_nothing_else",
        "mesh/I1_refunds_are_the_providers",
        "mesh/I8_record_was_committed",
        "mesh/I8_told_is_in_its_topic",
        "mesh/I9_records_rise",
    }
    every = {
        f"{'orders' if path.parent.name == 'chassis' else path.parent.name}/{path.stem}"
        for path in default_folder().rglob("*.sql")
    }
    assert every == {*BREAKS, *by_hand}


def test_a_rule_says_what_must_hold_and_how_it_is_put_right(tmp_path: Path) -> None:
    known = {"human", "requeue", "compensate", "reconcile"}
    assert {rule.repair for source in (*SCHEMAS, MESH) for rule in rules(source)} <= known
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "I1_money.sql").write_text("-- I1 money\n-- about: payment\nselect 1")
    with pytest.raises(BadRule, match="what must hold"):
        rules(MESH, tmp_path)


SECRETS = (
    "select email from users.users",
    "select password_hash from users.users",
    "select token_hash from users.sessions",
    "select * from users.addresses",
    "select * from orders.personal",
    "select payload from orders.events",
    "select lines from orders.cart",
    "select payment_method from payments.payment",
    "select payload from users.outbox",
    "select payload from users.outbox_journal",
    "select * from delivery.destination",
    "select latitude from delivery.shipment",
    "select name from delivery.courier",
    "select key from orders.idempotency",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_the_auditor_reads_nothing_personal_and_no_credentials(clean: Shop, secret: str) -> None:
    with psycopg.connect(clean.database.url_of_auditor) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(secret.encode())


def test_the_auditor_writes_nowhere(clean: Shop) -> None:
    with psycopg.connect(clean.database.url_of_auditor, autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        rows = connection.execute(
            """select table_schema, table_name from information_schema.tables
            where table_schema = any(%s)
              and has_table_privilege(
                  quote_ident(table_schema) || '.' || quote_ident(table_name), 'insert, update, delete, truncate')""",
            [list(SCHEMAS)],
        ).fetchall()
        assert rows == []
        for schema in SCHEMAS:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"create table {schema}.mine (id int)".encode())
