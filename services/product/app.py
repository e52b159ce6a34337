"""What the product service is made of."""

from mercato.consumer import Consumer
from mercato.kafka import topic
from mercato.reports import Reports
from mercato.runtime import Process, Stack, every
from services.product import encoding
from services.product.config import ProductConfig
from services.product.consumers import AVAILABILITY, follow_stock
from services.product.queries import ProductQueries
from services.product.servicer import ProductServicer
from services.product.store import CONSTRAINTS, ProductWork
from services.product.usecases import Catalogue, Imports, StockHints


def build(config: ProductConfig, stack: Stack) -> Process:
    """Wire the product service."""
    database = stack.database("catalog", constraints=CONSTRAINTS)

    def work() -> ProductWork:
        return ProductWork(database, service="product")

    catalogue = Catalogue(work)
    queries = ProductQueries(database, config.currency, encoding.whole)
    return Process(
        servicers=[
            ProductServicer(catalogue, Imports(work), Reports(database), queries, stack.page_tokens, config.currency)
        ],
        consumers=[Consumer(stack.kafka(), work, AVAILABILITY, [topic("inventory")], follow_stock(StockHints()))],
        workers=[
            every(config.refresh, catalogue.refresh_documents),
            every(config.make_ready, catalogue.ready_products),
        ],
    )
