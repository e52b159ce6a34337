"""The delivery service as a process."""

from mercato.runtime import run
from services.delivery.app import build
from services.delivery.config import DeliveryConfig

if __name__ == "__main__":
    run(build, DeliveryConfig)
