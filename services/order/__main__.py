"""The order service as a process."""

from mercato.runtime import run
from services.order.app import build
from services.order.config import OrderConfig

if __name__ == "__main__":
    run(build, OrderConfig)
