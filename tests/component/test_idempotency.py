"""Idempotency keys between real transactions."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mercato.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from mercato.idempotency import Key
from mercato.ids import uuid7
from mercato.postgres import Database, Work
from mercato.testing import acting, at_once


def a_key(fingerprint: bytes = b"print", principal: str = "ann", key: str = "") -> Key:
    return Key(principal, "Shop.Order", key or str(uuid7()), fingerprint)


def order(database: Database, key: Key | None, effect: Callable[[Any], object] = lambda _: None) -> tuple[str, bool]:
    """Make something, once; its id, and whether this was a repeat."""
    with acting() as call, Work(database, "inventory") as work:
        if made := work.idempotency.find(key):
            return made, call.replayed
        made = str(uuid7())
        work.connection.execute("insert into warehouse (id, name) values (%s, '')", [made])
        effect(work)
        work.idempotency.made(key, made)
        return made, call.replayed


def warehouses(database: Database) -> int:
    with database.reading() as connection:
        row = connection.execute("select count(*) from warehouse").fetchone()
        return row[0] if row else -1


def test_a_repeat_is_answered_with_what_the_first_made(inventory_database: Database) -> None:
    key = a_key()
    first, repeat = order(inventory_database, key), order(inventory_database, key)
    assert (first[0], repeat) == (repeat[0], (first[0], True))
    assert not first[1]


def test_the_same_key_twenty_times_at_once_has_one_effect(inventory_database: Database) -> None:
    key, before = a_key(), warehouses(inventory_database)
    outcomes = at_once(lambda: order(inventory_database, key), times=20)
    assert not [each for each in outcomes if isinstance(each, Exception)]
    assert len({each[0] for each in outcomes if isinstance(each, tuple)}) == 1
    assert warehouses(inventory_database) == before + 1


def test_without_a_key_every_request_is_a_new_one(inventory_database: Database) -> None:
    assert order(inventory_database, None)[0] != order(inventory_database, None)[0]


def test_another_request_with_the_key_is_refused(inventory_database: Database) -> None:
    key = a_key(b"milk")
    order(inventory_database, key)
    with pytest.raises(IdempotencyKeyReused):
        order(inventory_database, a_key(b"beer", key=key.key))


def test_a_key_is_the_principals_own(inventory_database: Database) -> None:
    anns = a_key()
    bobs = a_key(principal="bob", key=anns.key)
    assert order(inventory_database, anns)[0] != order(inventory_database, bobs)[0]


def test_a_refused_request_does_not_use_its_key_up(inventory_database: Database) -> None:
    def refuse(_: Any) -> None:
        raise LookupError

    key, before = a_key(), warehouses(inventory_database)
    with pytest.raises(LookupError):
        order(inventory_database, key, refuse)
    assert warehouses(inventory_database) == before
    assert not order(inventory_database, key)[1]


def test_who_waits_longer_than_a_second_hears_that_the_key_is_in_use(inventory_database: Database) -> None:
    key, under_way, done = a_key(), threading.Event(), threading.Event()

    def linger(_: Any) -> None:
        under_way.set()
        assert done.wait(60)

    first = threading.Thread(target=order, args=(inventory_database, key, linger))
    first.start()
    assert under_way.wait(60)
    with pytest.raises(IdempotencyKeyInUse):
        order(inventory_database, key)
    done.set()
    first.join()
    assert order(inventory_database, key)[1]


def test_peeking_claims_nothing(inventory_database: Database) -> None:
    key = a_key()
    with Work(inventory_database, "inventory") as work:
        assert work.idempotency.peek(key) is None
        assert order(inventory_database, key)[1] is False
        assert work.idempotency.peek(key) is not None
