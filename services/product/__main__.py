"""The product service as a process."""

from mercato.runtime import run
from services.product.app import build
from services.product.config import ProductConfig

if __name__ == "__main__":
    run(build, ProductConfig)
