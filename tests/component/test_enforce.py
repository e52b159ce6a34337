"""The wrapper around a servicer, driven by grpcio-testing as production's server drives it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc_testing  # type: ignore[import-untyped]  # shipped without types
import pytest

from mercato.auth import Signer
from mercato.errors import FailedPrecondition, InvalidArgument, MercatoError, PermissionDenied, Unauthenticated
from mercato.failpoint import failpoint, passed, record
from mercato.rpc import Principal, current_call, on_behalf_of
from mercato.rpc.contract import Unservable
from mercato.rpc.enforce import CALLS, SECONDS
from mercato.rpc.status import error_of
from mercato.testing import a_customer, enforced, staff
from tests.probe import SERVICE, Line, Probe, Request


class Driver:
    """Calls a servicer without a network."""

    def __init__(self, keys: Path, answer: Callable[[Any], object]) -> None:
        servicers = {SERVICE: enforced(Probe(answer), keys)}
        self._keys = keys
        self._server = grpc_testing.server_from_dictionary(servicers, grpc_testing.strict_real_time())

    def call(self, rpc: str, request: Any, who: Principal | None = None, caller: str = "gateway") -> Any:
        """The reply, or the error that a client would raise."""
        token = Signer.load(self._keys, caller).token("probe", who) if who else ""
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        method = SERVICE.methods_by_name[rpc]
        reply, trailing, code, text = self._server.invoke_unary_unary(method, metadata, request, 5.0).termination()
        if code is not grpc.StatusCode.OK:
            raise error_of(code, text, trailing)
        return reply


class Shut(FailedPrecondition):
    """Not now."""


@pytest.fixture
def drive(tmp_path: Path) -> Callable[[Callable[[Any], object]], Driver]:
    """Makes drivers."""
    return lambda answer: Driver(tmp_path, answer)


def test_a_call_is_answered(drive: Any) -> None:
    assert drive(lambda _: current_call().principal.subject).call("Read", Request(), a_customer("ann")).text == "ann"


@pytest.mark.parametrize(
    ("rpc", "who", "refusal"),
    [
        ("Read", None, Unauthenticated),
        ("Count", a_customer(), PermissionDenied),
        ("Step", staff("admin"), PermissionDenied),
    ],
)
def test_nothing_reaches_the_handler_but_what_the_contract_allows(
    drive: Any, rpc: str, who: Principal | None, refusal: type[MercatoError]
) -> None:
    reached: list[Any] = []
    with pytest.raises(refusal):
        drive(reached.append).call(rpc, Request(), who)
    assert not reached


def test_rich_errors_need_no_server_of_production(drive: Any) -> None:
    def answer(_request: Any) -> None:
        raise Shut("closed on Sundays", opens=[8, 22])

    with pytest.raises(Shut) as caught:
        drive(answer).call("Read", Request(), a_customer())
    assert caught.value.metadata == {"opens": [8, 22]}


def test_requests_are_validated(drive: Any) -> None:
    with pytest.raises(InvalidArgument):
        drive(lambda _: None).call("Read", Request(basket_lines=[Line()]), a_customer())


def test_calls_are_counted_by_rpc_and_code(drive: Any) -> None:
    before = CALLS.value("ProbeService.Count", "PERMISSION_DENIED"), SECONDS.count("ProbeService.Count")
    with pytest.raises(PermissionDenied):
        drive(lambda _: None).call("Count", Request(), a_customer())
    after = CALLS.value("ProbeService.Count", "PERMISSION_DENIED"), SECONDS.count("ProbeService.Count")
    assert after == (before[0] + 1, before[1] + 1)


class Lazy:
    """A servicer that forgot its rpcs."""

    contract = SERVICE


def test_a_servicer_that_lacks_an_rpc_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(Unservable, match="Lazy has no Read"):
        enforced(Lazy(), tmp_path)


def test_places_that_a_call_passes_are_named_by_its_rpc_also_where_it_works_for_somebody_else(drive: Any) -> None:
    def answer(_: Any) -> str:
        with on_behalf_of("somebody"):
            failpoint("before_commit")
        return "done"

    record(on=True, development=True)
    try:
        drive(answer).call("Read", Request(), a_customer())
        assert passed() == {"probe.Read.before_commit": 1}
    finally:
        record(on=False, development=True)
