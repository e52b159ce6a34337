"""gRPC calls from the descriptors: every rpc, as every caller, with fields and bytes that no stub of ours sends."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from chaos.fuzz.hoard import Hoard
from chaos.fuzz.making import Maker
from chaos.fuzz.people import Person, may
from chaos.fuzz.words import SELDOM, TEXTS, bitten
from gateway.contract import published
from gateway.schema import Schemas
from mercato.api.batch.v1 import batch_pb2
from mercato.auth import Signer
from mercato.grants import Grant, Sign, digest
from mercato.money import Money
from mercato.rpc.call import GRANT
from mercato.rpc.contract import Method, methods_of, owner_of

_UNFIT, _MOST_TRIES = 0.2, 60
_TEMPERS = (0, 0, 1, 1, 2, 5)
"""How many mistakes a message gets."""
_TIMEOUTS = (*[20.0] * 12, None, 0.000001, 0.001, 864_000.0)
_TOGETHER = batch_pb2.CallRequest.DESCRIPTOR
_MANY = (1, 3, 101, 1001)
_ODD_METADATA: Sequence[tuple[str, str | bytes]] = (
    *(("x-request-id", each) for each in ("", "a b", "x" * 200)),
    *(("x-consistency", each) for each in ("", "!", "e30", "x" * 3000, "AAAA.BBBB")),
    *(("traceparent", each) for each in ("00-0-0-00", "x" * 500)),
    *(("mercato-grant", each) for each in ("", "a.b.c", "x" * 5000)),
    *(("authorization", each) for each in ("", "Bearer", "Bearer a.b.c", "Basic YTpi", "Bearer " + "x" * 5000)),
    *(
        (
            ("x-user", "admin"),
            ("grpc-status-details-bin", b"\xff\x00"),
            ("mercato-replayed", "true"),
            ("x-long", "x" * 9_000),
        )
    ),
)
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (0, -1, 2**31 - 1, -(2**31), 1_000_000_000),
    FieldDescriptor.CPPTYPE_INT64: (0, -1, 2**63 - 1, -(2**63), 253_402_300_800, 10**12),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 99, -1, 2**31 - 1),
}
_REALS = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 90.000001, -180.1)
_SPEAKABLE = tuple(each for each in TEXTS if each == each.encode("utf-8", "ignore").decode())


@dataclass(frozen=True, slots=True)
class Call:
    """A call to an rpc of a service: bytes, metadata, and how long its caller waits. `whole`: no byte was changed."""

    service: str
    method: Method
    requests: tuple[bytes, ...]
    metadata: tuple[tuple[str, str | bytes], ...]
    timeout: float | None
    note: str
    whole: bool

    def line(self) -> str:
        """What sends it again: the messages in hexadecimal, for a caller with that token."""
        sent = " ".join(each.hex()[:3000] or "(empty)" for each in self.requests)
        extra = "; ".join(f"{name}: {value!r}"[:80] for name, value in self.metadata if name != "authorization")
        told = f"{self.note}, deadline {self.timeout}, {extra or 'no more'}"
        return f"grpc {self.method.path} of {self.service}, {told}: {sent}"


class GrpcCases:
    """Makes calls from contracts."""

    def __init__(
        self, hoard: Hoard, services: Sequence[str], signers: Mapping[str, Signer], agree: Sign = lambda _: ""
    ) -> None:
        """`agree` signs what a call needs a grant for, or nothing."""
        self._hoard = hoard
        self._services = services
        self._signers = signers
        self._agree = agree
        self._schemas = Schemas({})
        contracts = [each for file in published() for each in file.services_by_name.values()]
        self.rpcs = [(contract, method) for contract in contracts for method in methods_of(contract)]
        self._weights = [*accumulate(SELDOM.get(method.name, 1.0) for _, method in self.rpcs)]

    def call(self, dice: random.Random, people: Sequence[Person], callers: Sequence[str]) -> Call:
        """The next one."""
        contract, method, who, caller = self._drawn(dice, people, callers)
        service = self._callee(contract, dice)
        token = f"Bearer {self._signers[caller].token(service, who.principal)}"
        mistakes = dice.choice(_TEMPERS)
        count = dice.choice([0, 1, 3]) if method.streams_in else 1
        messages = [self._message(method, dice, mistakes, who, token) for _ in range(count)]
        granted = self._granted(method, messages[0], who) if method.policy.granted else ()
        sent = [each.SerializePartialToString() for each in messages]
        whole = dice.random() > 0.15
        return Call(
            service,
            method,
            tuple(sent if whole else [bitten(each, dice) for each in sent]),
            (*granted, *_metadata(token, dice, odd=mistakes > 1)),
            dice.choice(_TIMEOUTS) if mistakes else 20.0,
            f"as {caller} for {who.role}",
            whole,
        )

    def _drawn(
        self, dice: random.Random, people: Sequence[Person], callers: Sequence[str]
    ) -> tuple[ServiceDescriptor, Method, Person, str]:
        """An rpc and who asks for it: somebody who may, more often than not."""
        for _ in range(1 if dice.random() < _UNFIT else _MOST_TRIES):
            ((contract, method),) = dice.choices(self.rpcs, cum_weights=self._weights)
            who, caller = dice.choice(people), dice.choice(callers)
            if may(method.policy, who, caller):
                break
        return contract, method, who, caller

    def _callee(self, contract: ServiceDescriptor, dice: random.Random) -> str:
        owner = owner_of(contract)
        return owner if owner in self._services else dice.choice(self._services)

    def _message(self, method: Method, dice: random.Random, mistakes: int, who: Person, token: str) -> Message:
        if method.request.DESCRIPTOR is _TOGETHER:
            return self._together(dice, mistakes, who, token)
        message = self.made(method.request, dice, who.own)
        for _ in range(mistakes):
            spoil(message, dice)
        return message

    def made(self, cls: type[Message], dice: random.Random, own: Mapping[str, str]) -> Message:
        """A message as the contract wants it."""
        descriptor: Any = cls.DESCRIPTOR
        value = Maker(self._schemas.components, self._hoard, dice, 0.0, own).value(self._schemas.message(descriptor))
        message = cls()
        json_format.ParseDict(value, message, ignore_unknown_fields=True)
        return message

    def _granted(self, method: Method, message: Any, who: Person) -> Sequence[tuple[str, str]]:
        """What lets a call through to its handler: whom it is for agreed to what it names, whatever that is."""
        customer_id = who.principal.subject
        order_id, payment_method = getattr(message, "order_id", ""), getattr(message, "payment_method", "")
        if hasattr(message, "customer_id"):
            message.customer_id = customer_id
        cap, steps = Money(10**12, message.amount.currency_code), frozenset({method.use_case})
        named = (order_id[:64], message.payment_id[:64], digest(payment_method))
        grant = self._agree(Grant(customer_id, *named, cap, steps))
        return [(GRANT, grant)] if grant else []

    def _together(self, dice: random.Random, mistakes: int, who: Person, token: str) -> Message:
        """Calls that travel together, some of which may not, or go nowhere."""
        request = batch_pb2.CallRequest()
        for _ in range(dice.choice([0, 1, 2, 5, 257])):
            _, method = dice.choice(self.rpcs)
            sent = self.made(method.request, dice, who.own).SerializePartialToString()
            metadata = dice.choice(
                [[], ["authorization"], ["authorization", token], ["authorization", token, "x-request-id", " "]]
            )
            item = request.items.add(method=method.path, request=sent, metadata=metadata)
            item.remaining_us = dice.choice([0, 1, 5_000_000, -1, 2**63 - 1])
        for _ in range(mistakes):
            spoil(request, dice)
        return request


def spoil(message: Any, dice: random.Random) -> None:
    """Set some field, somewhere in a message, to what it should not be."""
    if not message.DESCRIPTOR.fields:
        return
    field = dice.choice(message.DESCRIPTOR.fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if field.is_repeated:
        _spoil_list(getattr(message, field.name), field, dice)
    elif field.message_type is not None:
        below = getattr(message, field.name)
        below.SetInParent()
        spoil(below, dice)
    elif dice.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _odd(field, dice))


def _spoil_list(items: Any, field: FieldDescriptor, dice: random.Random) -> None:
    if field.message_type is None:
        items.extend([_odd(field, dice)] * dice.choice(_MANY))
        return
    if items and dice.random() < 0.5:
        spoil(dice.choice(items), dice)
        return
    for _ in range(dice.choice(_MANY)):
        items.add()


def _odd(field: FieldDescriptor, dice: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return dice.randbytes(dice.choice([0, 1, 1000]))
        case FieldDescriptor.CPPTYPE_STRING:
            return dice.choice(_SPEAKABLE)
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return dice.choice(_REALS)
        case FieldDescriptor.CPPTYPE_FLOAT:
            return dice.choice(_REALS[:5])
    return dice.choice(_INTEGERS[field.cpp_type])


def _metadata(token: str, dice: random.Random, *, odd: bool) -> tuple[tuple[str, str | bytes], ...]:
    metadata: list[tuple[str, str | bytes]] = [("authorization", token)]
    if odd and dice.random() < 0.3:
        extra = dice.choice(_ODD_METADATA)
        metadata = [each for each in metadata if each[0] != extra[0] or dice.random() < 0.5]
        metadata.append(extra)
    return tuple(metadata)
