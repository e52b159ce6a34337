"""The payment service as a process."""

from mercato.runtime import run
from services.payment.app import build
from services.payment.config import PaymentConfig

if __name__ == "__main__":
    run(build, PaymentConfig)
