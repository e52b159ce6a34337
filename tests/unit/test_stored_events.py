"""Events as they are kept: every schema that was ever written is read, and a change of contract leaves a trace."""

from __future__ import annotations

import pytest
from hypothesis import given

from mercato.event_store import Upcasters
from mercato.event_store.upcasting import NoSuchSchema
from services.order.events import Event, OrderCancelled, OrderRejected, State
from services.order.evolution import UPCASTERS
from services.order.stored import decode, encode
from services.order.v1 import stored_events_pb2 as pb
from tests.golden.corpus import EVENTS, Entry, contract, entries, samples, told
from tests.histories import histories

CORPUS = list(entries())


@pytest.mark.parametrize("entry", CORPUS, ids=lambda each: f"{each.type}.{each.schema}.{each.contract}")
def test_what_was_ever_written_is_read_as_what_it_was(entry: Entry) -> None:
    read = told(decode(entry.type, entry.schema, entry.payload))
    assert {name: read[name] for name in entry.event} == entry.event


@pytest.mark.parametrize("type_", EVENTS)
def test_a_contract_does_not_change_without_a_new_entry_in_the_corpus(type_: str) -> None:
    known = {(each.schema, each.contract) for each in CORPUS if each.type == type_}
    assert (UPCASTERS.schema(type_), contract(type_)) in known, (
        f"The message {type_} is not the one that was last written down. If older bytes mean the same as ever, add an "
        "entry: python -m tests.golden.corpus. If not, raise its schema with an upcaster, then add it."
    )


@pytest.mark.parametrize("type_", EVENTS)
def test_every_schema_of_a_type_is_in_the_corpus(type_: str) -> None:
    known = {each.schema for each in CORPUS if each.type == type_}
    assert known == set(range(1, UPCASTERS.schema(type_) + 1))


def test_the_corpus_has_each_type_of_event() -> None:
    assert {type(each).__name__ for each in samples()} == EVENTS.keys() == {each.type for each in CORPUS}


@given(histories())
def test_what_is_written_is_read_back(events: list[Event]) -> None:
    assert [decode(*encode(each)) for each in events] == events


def test_a_rejection_says_nothing_of_what_it_is_not_about() -> None:
    _, schema, payload = encode(OrderRejected("PAYMENT_DECLINED", (), "expired_card"))
    message = pb.OrderRejected.FromString(payload)
    assert (schema, message.WhichOneof("cause"), message.reason) == (2, "payment_declined", "")
    old = pb.OrderRejected(reason="SLOT_CLOSED").SerializeToString()
    assert decode("OrderRejected", 1, old) == OrderRejected("SLOT_CLOSED")


def test_a_cancelled_order_stood_where_orders_can_stand() -> None:
    assert {each for each in pb.OrderCancelled.State.keys() if each != "STATE_UNSPECIFIED"} == set(State)  # noqa: SIM118
    old = pb.OrderCancelled(from_state="PICKING").SerializeToString()
    assert decode("OrderCancelled", 1, old) == OrderCancelled(State.PICKING)
    with pytest.raises(ValueError, match="NOWHERE"):
        decode("OrderCancelled", 1, pb.OrderCancelled(from_state="NOWHERE").SerializeToString())


def test_upcasters_are_chained_from_the_schema_of_the_bytes_on() -> None:
    steps = Upcasters({("A", 1): lambda old: old + b"2", ("A", 2): lambda old: old + b"3", ("B", 1): lambda _: b"?"})
    assert [steps.upcast("A", schema, b"") for schema in (1, 2, 3)] == [b"23", b"3", b""]
    assert [steps.schema(type_) for type_ in "ABC"] == [3, 2, 1]
    assert steps.upcast("C", 1, b"c") == b"c"


@pytest.mark.parametrize(("type_", "schema"), [("A", 3), ("A", 0), ("B", 2)])
def test_bytes_of_a_schema_that_nobody_here_knows_are_refused(type_: str, schema: int) -> None:
    with pytest.raises(NoSuchSchema, match=f"{type_} of schema {schema}"):
        Upcasters({("A", 1): lambda old: old}).upcast(type_, schema, b"")


def test_a_chain_of_upcasters_leaves_no_schema_out() -> None:
    with pytest.raises(ValueError, match="nothing brings A from schema 1 to 2"):
        Upcasters({("A", 2): lambda old: old})
