"""The inventory service as a process."""

from mercato.runtime import run
from services.inventory.app import build
from services.inventory.config import InventoryConfig

if __name__ == "__main__":
    run(build, InventoryConfig)
