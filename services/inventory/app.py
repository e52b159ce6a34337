"""What the inventory service is made of."""

from mercato.runtime import Process, Stack, every
from services.inventory.config import InventoryConfig
from services.inventory.queries import StockQueries
from services.inventory.servicer import InventoryServicer
from services.inventory.store import CONSTRAINTS, InventoryWork
from services.inventory.usecases import Inventory


def build(config: InventoryConfig, stack: Stack) -> Process:
    """Wire the inventory service."""
    database = stack.database("inventory", constraints=CONSTRAINTS)
    inventory = Inventory(lambda: InventoryWork(database, service="inventory"), config.hold)
    return Process(
        servicers=[InventoryServicer(inventory, StockQueries(database), stack.page_tokens)],
        workers=[
            every(config.sweep, inventory.expire_reservations),
            every(config.tidy, lambda: inventory.forget_reservations(config.keep), "forget_reservations"),
        ],
    )
