"""Reads of payments and of the ledger that decide nothing."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import kwargs_row

from mercato.errors import NotFound
from mercato.money import Money
from mercato.postgres import Database
from services.payment.domain import Payment
from services.payment.ledger import Account, Entry, Side
from services.payment.store import PAYMENT, payment_of

ENTRY: LiteralString = "id, transaction_id, payment_id, account, side, amount, currency, create_time"


def _entry_of(side: str, amount: int, currency: str, **columns: Any) -> Entry:
    return Entry(side=Side(side), amount=Money(amount, currency), **columns)


def _account_of(account: str, currency: str, debits: int, credits: int) -> Account:  # noqa: A002  the contract's word
    return Account(account, Money(debits, currency), Money(credits, currency))


class PaymentQueries:
    """Reads on the schema `payments`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def payment(self, payment_id: UUID, only_of: UUID | None) -> Payment:
        """A payment, of this customer alone if one is named. NotFound."""
        statement: LiteralString = f"""
            select {PAYMENT} from payment
            where id = %(id)s and (%(only_of)s::uuid is null or customer_id = %(only_of)s)"""
        found = self._payments(statement, {"id": payment_id, "only_of": only_of})
        if not found:
            raise NotFound
        return found[0]

    def payments(
        self, only_of: UUID | None, order_id: UUID | None, state: str, after: Sequence[str], most: int
    ) -> list[Payment]:
        """Payments, the newest first, after one of them. Tombstones are nobody's and not listed."""
        statement: LiteralString = f"""
            select {PAYMENT} from payment
            where order_id is not null
              and (%(only_of)s::uuid is null or customer_id = %(only_of)s)
              and (%(order_id)s::uuid is null or order_id = %(order_id)s)
              and (%(state)s = '' or state = %(state)s)
              and (%(time)s::timestamptz is null or (create_time, id) < (%(time)s, %(after)s::uuid))
            order by create_time desc, id desc limit %(most)s"""
        values = {"only_of": only_of, "order_id": order_id, "state": state, **_after(after), "most": most}
        return self._payments(statement, values)

    def created(self, begin: datetime, end: datetime) -> list[Payment]:
        """The payments that the provider has to do with, created from `begin` to before `end`."""
        statement: LiteralString = f"""
            select {PAYMENT} from payment
            where order_id is not null and payment_method <> 'cash_on_delivery'
              and create_time >= %s and create_time < %s
            order by create_time, id"""
        return self._payments(statement, [begin, end])

    def known(self, payment_ids: Iterable[UUID]) -> list[Payment]:
        """Those of the payments that there are."""
        return self._payments(f"select {PAYMENT} from payment where id = any(%s)", [list(payment_ids)])

    def precedes_grants(self, payment_id: UUID) -> bool:
        """Whether it was begun when nobody asked for grants yet; so is whatever is begun before anybody does."""
        statement: LiteralString = """
            select now() < since or exists (select from payment where id = %s and create_time < since)
            from grants_demanded"""
        with self._database.reading() as connection:
            row = connection.execute(statement, [payment_id]).fetchone()
        return bool(row and row[0])

    def accounts(self, after: Sequence[str], most: int) -> list[Account]:
        """The accounts in use with their sums, one for each currency, after one of them.

        Summed when asked for: a balance kept in a row would be a lock that every payment waits for.
        """
        statement: LiteralString = """
            select account, currency, coalesce(sum(amount) filter (where side = 'DEBIT'), 0)::bigint as debits,
                   coalesce(sum(amount) filter (where side = 'CREDIT'), 0)::bigint as credits
            from ledger_entry
            where %(account)s::text is null or (account, currency) > (%(account)s, %(currency)s)
            group by account, currency order by account, currency limit %(most)s"""
        account, currency = after or (None, None)
        with (
            self._database.reading() as connection,
            connection.cursor(row_factory=kwargs_row(_account_of)) as cursor,
        ):
            values = {"account": account, "currency": currency, "most": most}
            return cursor.execute(statement, values).fetchall()

    def entries(self, account: str, payment_id: UUID | None, after: Sequence[str], most: int) -> list[Entry]:
        """Entries of the ledger, the newest first, after one of them."""
        statement: LiteralString = f"""
            select {ENTRY} from ledger_entry
            where (%(account)s = '' or account = %(account)s)
              and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
              and (%(time)s::timestamptz is null or (create_time, id) < (%(time)s, %(after)s::uuid))
            order by create_time desc, id desc limit %(most)s"""
        values = {"account": account, "payment_id": payment_id, **_after(after), "most": most}
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(_entry_of)) as cursor:
            return cursor.execute(statement, values).fetchall()

    def _payments(self, statement: LiteralString, values: Any) -> list[Payment]:
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(payment_of)) as cursor:
            return cursor.execute(statement, values).fetchall()


def _after(cursor: Sequence[str]) -> dict[str, str | None]:
    return {"time": cursor[0], "after": cursor[1]} if cursor else {"time": None, "after": None}
