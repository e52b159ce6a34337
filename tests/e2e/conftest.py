"""The whole mesh, started once for all tests of the folder, with a small shop in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.sweep.control import Controls
from mercato.local.mesh import Mesh
from tests.e2e.town import Shop

ENVIRONMENT = {
    "MERCATO_PORT": "0",
    # What one of the order services leaves undone when it dies, the other one does.
    "MERCATO_COPIES": "order=2",
    # However busy the machine is, or however fast: nobody gives up too early, and nobody asks too often.
    "MERCATO_ORDER_PATIENCE": "10s",
    "MERCATO_GATEWAY_DEADLINE": "12s",
    "MERCATO_GATEWAY_DEADLINES": "PlaceOrder=12s,ReconcilePayments=30s",
    "MERCATO_GATEWAY_RATE_FACTOR": "1000",
    "MERCATO_REDIS_PATIENCE": "5s",
}


@pytest.fixture(scope="package")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Controls:
    """The failpoints of all processes."""
    return Controls(tmp_path_factory.mktemp("controls"))


@pytest.fixture(scope="package")
def mesh(tmp_path_factory: pytest.TempPathFactory, controls: Controls) -> Iterator[Mesh]:
    """Every process of the mesh, on free ports."""
    told = {**ENVIRONMENT, "MERCATO_FAILPOINT_FOLDER": str(controls.folder)}
    with Mesh(tmp_path_factory.mktemp("mesh"), environment=told, follow=True) as mesh:
        yield mesh


@pytest.fixture(scope="package")
def shop(mesh: Mesh) -> Iterator[Shop]:
    """A shop with a town, some products and its staff."""
    with Shop(mesh) as shop:
        yield shop
