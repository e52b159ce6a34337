"""The fuzz over gRPC: threads that call one rpc after the other, past the gateway, and judge the statuses."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from chaos.fuzz.findings import Findings
from chaos.fuzz.grpc_cases import Call, GrpcCases
from chaos.fuzz.hoard import Hoard
from chaos.fuzz.people import Person
from chaos.fuzz.tempo import Tempo
from chaos.fuzz.wire import SLOWEST
from mercato.auth import Signer
from mercato.grants import Granter
from mercato.local.mesh import Mesh
from mercato.rpc import status

FOR_USERS = ("gateway",)
INSIDERS = ("gateway", "operator", "order", "product", "inventory", "payment", "delivery", "user")
"""Who calls in the mesh, and is believed: what they lie about is not for the auditor."""

Code = grpc.StatusCode
_NEVER = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.CANCELLED})
# gRPC's own words for what never reached us: an rpc that there is not, more than there may be.
_ITS_OWN = re.compile(r"Method not found!|.*(larger than max|metadata size exceeds).*", re.DOTALL)
_SHORT = 1.0


class GrpcFuzz:
    """Calls every service directly."""

    def __init__(self, mesh: Mesh, people: Sequence[Person], hoard: Hoard, findings: Findings, seed: int) -> None:
        self._people = people
        self._findings = findings
        self._seed = seed
        self._channels = {name: grpc.insecure_channel(target) for name, target in mesh.targets.items()}
        signers = {name: Signer.load(mesh.home.keys, name) for name in INSIDERS}
        self._cases = GrpcCases(hoard, [*mesh.targets], signers, Granter.load(mesh.home.keys, "order").sign)

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels.values():
            channel.close()

    def run(self, tempo: Tempo, callers: Sequence[str]) -> None:
        """Call until it is time, as these callers."""

        def call_some(tempo: Tempo) -> None:
            for number in tempo:
                dice = random.Random(f"{self._seed} grpc {callers} {number}")  # noqa: S311  cases that can be made again
                self._ask(self._cases.call(dice, self._people, callers))

        tempo.run(call_some)

    def _ask(self, call: Call) -> None:
        try:
            reply, failed = self._send(call), None
        except grpc.RpcError as error:
            reply, failed = b"", error
        except grpc.FutureTimeoutError:
            self._note(call, "hang", ["hang"], "")
            return
        if failed is None:
            self._note(call, "OK", _unreadable(call, reply), "")
        else:
            self._judge(call, failed)

    def _send(self, call: Call) -> bytes:
        channel = self._channels[call.service]
        if call.method.streams_in:
            calling: Any = channel.stream_unary(call.method.path)
            under_way = calling.future(iter(call.requests), timeout=call.timeout, metadata=call.metadata)
        else:
            calling = channel.unary_unary(call.method.path)
            under_way = calling.future(call.requests[0], timeout=call.timeout, metadata=call.metadata)
        reply: bytes = under_way.result(SLOWEST)
        return reply

    def _judge(self, call: Call, failed: Any) -> None:
        code, text = failed.code(), failed.details() or ""
        error = status.error_of_call(failed)
        excuse = "overloaded" if error.reason == "OVERLOADED" else ""
        own = bool(_ITS_OWN.fullmatch(text))
        told = f"{code.name} {error.reason}: {text[:300]}"
        self._note(call, code.name, [] if own or excuse else [*_faults(call, code, error, text)], told, excuse)

    def _note(self, call: Call, answer: str, faults: Sequence[str], told: str, excuse: str = "") -> None:
        where = f"{call.service} {call.method.label}"
        self._findings.count("gRPC", where, answer, excuse)
        for what in faults:
            self._findings.add(where, what, call.line(), told)


def _faults(call: Call, code: Code, error: Any, text: str) -> Iterator[str]:
    if code in _NEVER or code is Code.UNAVAILABLE:
        yield f"{code.name}: {text[:80]}"
    if code is Code.DEADLINE_EXCEEDED:
        if call.timeout is None or call.timeout > _SHORT:
            yield "DEADLINE_EXCEEDED, though there was time"
        return
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", error.reason or ""):
        yield f"{code.name} without a reason"
    if len(text) > 1000 or not text.isascii() or not text.isprintable():
        yield "a status text that is long, or no plain text"
    if error.reason == "VALIDATION_FAILED" and not error.fields:
        yield "VALIDATION_FAILED that names no field"


def _unreadable(call: Call, reply: bytes) -> list[str]:
    try:
        call.method.response.FromString(reply)
    except DecodeError:
        return ["a reply that is no message"]
    return []
