"""Broken frames of WebSocket and HTTP/2: refused or hung up on, and nobody else notices."""

from contextlib import closing

from chaos.fuzz.findings import Findings
from chaos.fuzz.framing import FrameFuzz
from chaos.fuzz.wire import Line
from mercato.api.product.v1 import product_pb2
from tests.component.gateway.conftest import CUSTOMER, Mesh
from tests.component.gateway.watching import PATH, happened

CASES = 100


def test_whatever_frames_come_each_connection_ends_and_nobody_else_notices(mesh: Mesh, port: int) -> None:
    happened(mesh, "OrderPlaced", "OrderCancelled")
    mesh.product.answers["ListProducts"] = lambda _: product_pb2.ListProductsResponse()
    findings = Findings()
    fuzz = FrameFuzz(("127.0.0.1", port), lambda: (PATH, CUSTOMER), findings)
    with closing(Line("127.0.0.1", port)) as neighbour:
        for number in range(CASES):
            fuzz.send(number)
        fuzz.look_around(neighbour)
    assert not findings.all, "\n".join(f"{each.where}: {each.what} {each.line} {each.detail}" for each in findings.all)
    counted = findings.counted["frames"]
    assert counted["WebSocket"]["101"] > CASES / 10, counted
    assert counted["HTTP/2"]["ok"] > CASES / 10, counted
