"""What the contract decides about an rpc, read from its options: who may call it, and what a repeat means.

Deny by default: an rpc without a policy cannot be served, and a caller whom no rule names is refused.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from mercato.api.policy.v1 import policy_pb2 as pb
from mercato.errors import PermissionDenied, Unauthenticated
from mercato.ratelimit import Rate
from mercato.rpc.call import Principal

_HTTP: Any = annotations_pb2.http
# Callers that act for the end user whom their token names.
FOR_USERS = frozenset({"gateway", "operator"})
_ADMIN_IMPLIED = frozenset({"catalog", "warehouse", "support"})


class NoPolicy(Exception):
    """An rpc that nobody decided on."""


class Criticality(IntEnum):
    """What is given up first when there is more to do than can be done; the names are Google's SRE book's."""

    SHEDDABLE = 1
    SHEDDABLE_PLUS = 2
    CRITICAL = 3
    CRITICAL_PLUS = 4

    @property
    def share(self) -> float:
        """How much of the room that there is may be taken when a call of this kind is still let in."""
        return self / Criticality.CRITICAL_PLUS


@dataclass(frozen=True, slots=True)
class Limit:
    """How often an rpc may be asked for by one address, by one principal, or about one value of a field."""

    per: str
    rate: Rate
    strict: bool = False
    field: str = ""


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long replies to callers without a session may be kept, in seconds, and which fields say what of."""

    seconds: int
    of: tuple[str, ...] = ()
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """What a grant must say of a call: the fields that it names alike, and the one whose amount it bounds."""

    fields: tuple[str, ...]
    amount: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The decisions about one rpc. Roles and services are lower-case names."""

    anyone: bool = False
    roles: frozenset[str] = frozenset()
    own_roles: frozenset[str] | None = None
    own_fields: tuple[str, ...] = ()
    callers: frozenset[str] = frozenset()
    granted: Granted | None = None
    """Of a caller's calls for itself: what the grant must say that it shows (`mercato.grants`)."""
    over_http: bool = False
    idempotent_by: str = ""
    key_required: bool = False
    repeatable: bool = False
    together: bool = False
    served_by: str = ""
    limits: tuple[Limit, ...] = ()
    """What is counted of whoever asks."""
    limits_by_field: tuple[Limit, ...] = ()
    """What is counted of what they ask about."""
    keeping: Keeping | None = None
    criticality: Criticality = Criticality.SHEDDABLE_PLUS

    @property
    def for_users(self) -> bool:
        """Whether end users reach it at all."""
        return self.over_http and (self.anyone or bool(self.roles) or self.own_roles is not None)


@cache
def policy_of(method: MethodDescriptor) -> Policy:
    """The policy of an rpc; NoPolicy if the contract has none."""
    options = method.GetOptions()
    if not options.HasExtension(pb.policy):
        raise NoPolicy(f"{method.full_name} has no policy option: say who may call it")
    policy, own = options.Extensions[pb.policy], options.Extensions[pb.policy].access.own
    roles = frozenset(map(_role, policy.access.roles))
    over_http = options.HasExtension(_HTTP)
    return Policy(
        anyone=policy.access.anyone,
        roles=roles | {"admin"} if roles & _ADMIN_IMPLIED else roles,
        own_roles=frozenset(map(_role, own.roles)) if policy.access.HasField("own") else None,
        own_fields=tuple(own.fields),
        callers=frozenset(pb.Service.Name(each).lower() for each in policy.callers),
        granted=_granted(policy.granted) if policy.HasField("granted") else None,
        over_http=over_http,
        idempotent_by=policy.idempotent_by,
        key_required=policy.key_required,
        repeatable=bool(policy.idempotent_by) or options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN,
        together=policy.together,
        served_by=policy.served_by,
        limits=tuple(_limit(each) for each in policy.rate if each.per != pb.Per.FIELD),
        limits_by_field=tuple(_limit(each) for each in policy.rate if each.per == pb.Per.FIELD),
        keeping=_keeping(policy.cache) if policy.HasField("cache") else None,
        criticality=_criticality(policy, for_users=over_http and policy.HasField("access")),
    )


def _granted(given: pb.Granted) -> Granted:
    return Granted(tuple(given.fields), given.amount)


def _limit(given: pb.Rate) -> Limit:
    return Limit(pb.Per.Name(given.per).lower(), Rate(given.requests, given.seconds), given.strict, given.field)


def _keeping(given: pb.Cache) -> Keeping:
    return Keeping(given.seconds, tuple(given.of), given.shared)


def _criticality(policy: pb.Policy, *, for_users: bool) -> Criticality:
    if policy.criticality:
        return Criticality(policy.criticality)
    return Criticality.SHEDDABLE_PLUS if for_users else Criticality.CRITICAL_PLUS


def _role(number: Any) -> str:
    return pb.Role.Name(number).lower()


def decide(policy: Policy, principal: Principal, service: str) -> str | None:
    """Whose resources the caller may touch: None for everybody's, else a subject's own.

    Unauthenticated if signing in would help, PermissionDenied otherwise.
    """
    if service in policy.callers:
        return None
    if service not in FOR_USERS or not policy.for_users:
        raise PermissionDenied(f"{service} may not call this")
    if policy.anyone or principal.roles & policy.roles:
        return None
    if not principal.subject:
        raise Unauthenticated("sign in first")
    if policy.own_roles is not None and _owns(policy.own_roles, principal):
        return principal.subject
    raise PermissionDenied


def _owns(roles: frozenset[str], principal: Principal) -> bool:
    return bool(principal.roles & roles) if roles else principal.is_account
