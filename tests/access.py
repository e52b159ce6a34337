"""Who may do what: the "who" columns of the public surface, written down once more by hand.

Tests hold the mesh and the policies of its contracts against this table, so it must not be made from either. A row is
an operation, `K` where REST callers must send an Idempotency-Key, and who may: `all`, roles on everybody's resources,
`role:own` on their own, `role:others` on all but their own, `account:own` for whoever has an account, `@service` for a
process that calls for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

ANONYMOUS = "anonymous"
ACCOUNTS = ("customer", "support", "catalog", "warehouse", "courier", "finance", "admin")
ROLES = (ANONYMOUS, "guest", *ACCOUNTS)
SERVICES = ("gateway", "operator", "product", "inventory", "order", "payment", "delivery", "user")
FOR_USERS = ("gateway", "operator")
"""Processes whose calls are made in the name of the end user whom they name."""

TABLE = """
# Catalogue
ListProducts            -  all
SearchProducts          -  all
BatchGetProducts        -  all
GetProduct              -  all
CreateProduct           K  catalog admin
UpdateProduct           -  catalog admin
ArchiveProduct          -  catalog admin
ImportProducts          -  catalog admin @operator
ListCategories          -  all
GetCategory             -  all
CreateCategory          -  catalog admin
UpdateCategory          -  catalog admin
BatchGetOffers          -  @order
# Stock
BatchGetAvailability    -  all
ListWarehouses          -  warehouse admin
ListStock               -  warehouse finance admin
GetStock                -  warehouse finance admin
ReceiveStock            K  warehouse admin
AdjustStock             K  warehouse admin
ListMovements           -  warehouse finance admin
ReserveStock            -  @order
CommitReservation       -  @order
ReleaseReservation      -  @order
ConsumeReservation      -  @order
RestockReturn           -  @order
GetReservation          -  @order
PutWarehouse            -  @operator
BatchReceiveStock       -  @operator
# Cart and orders
GetCart                 -  guest:own customer:own
SetCartLine             -  guest:own customer:own
RemoveCartLine          -  guest:own customer:own
ClearCart               -  guest:own customer:own
PlaceOrder              K  customer:own
ListOrders              -  customer:own support finance warehouse admin
GetOrderBoard           -  support catalog warehouse finance admin
GetOrder                -  customer:own support finance warehouse admin
ListOrderEvents         -  customer:own support finance warehouse admin
BatchGetOrderVersions   -  @gateway
BatchGetOrderVersions   -  @gateway
CancelOrder             K  customer:own support admin
StartPicking            -  warehouse admin
FinishPicking           -  warehouse admin
RetryPayment            K  customer:own support admin
Redeliver               -  support warehouse admin
RequestReturn           K  customer:own
ApproveReturn           K  support:others admin:others
RefuseReturn            K  support:others admin:others
# Payments
AuthorizePayment        -  @order
CapturePayment          -  @order
VoidPayment             -  @order
SettleCash              -  @order
ListPayments            -  customer:own support finance admin
GetPayment              -  customer:own support finance admin @order
RefundPayment           K  finance @order
ListAccounts            -  finance
ListEntries             -  finance
ReconcilePayments       -  finance
HandleWebhook           -  @gateway
# Delivery
ListZones               -  all
LocateZone              -  all @user
ListSlots               -  all
GetQuote                -  all
QuoteSlot               -  @order
HoldSlot                -  @order
ConfirmSlot             -  @order
ReleaseSlot             -  @order
CreateShipment          -  @order
ReadyShipment           -  @order
CancelShipment          -  @order
ListShipments           -  courier:own customer:own warehouse support admin
GetShipment             -  courier:own customer:own warehouse support admin
AssignShipment          -  warehouse admin
PickUpShipment          -  courier:own
DeliverShipment         -  courier:own
FailShipment            -  courier:own
ReportPosition          -  courier:own
ListCouriers            -  warehouse admin
CreateCourier           -  warehouse admin
PutZone                 -  @operator
# Users
RegisterUser            -  all
SignIn                  -  all
StartGuestSession       -  all
ListSessions            -  account:own support admin
SignOut                 -  account:own guest
RevokeSession           -  account:own support admin
LookUpSession           -  @gateway
ListUsers               -  support admin
GetUser                 -  account:own support admin
UpdateUser              -  account:own
EraseUser               -  account:own
ChangePassword          -  account:own
SetRoles                -  admin:others
ListAddresses           -  account:own
GetAddress              -  account:own @order
CreateAddress           -  account:own
UpdateAddress           -  account:own
DeleteAddress           -  account:own
PutAccount              -  @operator
# Operations
GetOperations           -  admin @operator
ListDeadLetters         -  admin @operator
GetDeadLetter           -  admin @operator
RedriveDeadLetter       -  admin @operator
DiscardDeadLetter       -  admin @operator
RebuildProjection       -  admin @operator
AuditService            -  admin @operator
ListStuck               -  admin @operator
RetryStuck              -  admin @operator
# Between processes
Call                    -  @gateway @operator @product @inventory @order @payment @delivery @user @analytics
"""


class Verdict(Enum):
    """What becomes of a request at the gate."""

    PASSED = "whatever comes of it, it was let in"
    SIGN_IN = "401"
    FORBIDDEN = "403"
    HIDDEN = "the answer that a missing resource gets"


@dataclass(frozen=True, slots=True)
class Row:
    """Who may use one operation."""

    rpc: str
    key: bool
    everybody: bool
    all_of: frozenset[str]
    own_of: frozenset[str]
    others_of: frozenset[str]
    callers: frozenset[str]

    @classmethod
    def parse(cls, line: str) -> Row:
        """One line of the table."""
        rpc, key, *who = line.split()
        named = {scope: _named(who, scope) for scope in ("", ":own", ":others", "@")}
        known = {*ROLES, *SERVICES, "account", "all", "analytics"}
        assert known >= set().union(*named.values()), line
        owners = named[":own"]
        own_of = owners | set(ACCOUNTS) - {"account"} if "account" in owners else owners
        return cls(rpc, key == "K", "all" in named[""], named[""], own_of, named[":others"], named["@"])

    @property
    def for_users(self) -> bool:
        """Whether end users may use it at all."""
        return self.everybody or bool(self.all_of | self.own_of | self.others_of)

    def between_processes(self) -> Row:
        """The row as it holds for as long as the operation has no address of its own."""
        return replace(self, everybody=False, all_of=frozenset(), own_of=frozenset(), others_of=frozenset())

    def verdict(self, role: str, target: str = "own") -> Verdict:
        """What somebody with a role is told, whose own the target is, or another's, or nobody's."""
        if self.everybody or role in self.all_of:
            return Verdict.PASSED
        if role == ANONYMOUS:
            return Verdict.SIGN_IN
        if role in self.own_of:
            return Verdict.PASSED if target == "own" else Verdict.HIDDEN
        return Verdict.PASSED if role in self.others_of and target != "own" else Verdict.FORBIDDEN

    def call(self, service: str, role: str, target: str = "own") -> Verdict:
        """What a process is told that calls for somebody, or for nobody."""
        if service in self.callers:
            return Verdict.PASSED
        return self.verdict(role, target) if service in FOR_USERS and self.for_users else Verdict.FORBIDDEN


def _named(who: Sequence[str], scope: str) -> frozenset[str]:
    """The roles, or services, that are named in a scope."""
    if scope == "@":
        return frozenset(word[1:] for word in who if word[0] == "@")
    pairs = (word.partition(":") for word in who if word[0] != "@")
    return frozenset(name for name, colon, rest in pairs if colon + rest == scope)


GRANTED = {"AuthorizePayment", "CapturePayment"}
"""What a process may do for itself only by showing that the customer agreed to it."""
ROWS = {row.rpc: row for line in TABLE.strip().splitlines() if line[0] != "#" for row in [Row.parse(line)]}
