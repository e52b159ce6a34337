"""ProductService: requests to use cases and queries, their answers to messages."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from grpc import ServicerContext

from mercato.ahead import ahead
from mercato.api.product.v1 import product_pb2 as pb
from mercato.errors import InvalidArgument, MercatoError, NotFound, PermissionDenied
from mercato.pagination import PageTokens
from mercato.reports import Keyed, Reports
from mercato.rpc import current_call
from mercato.rpc.call import Call
from mercato.rpc.ready import Ready
from mercato.rpc.set_form import Item, SetForm
from services.product import messages
from services.product.domain import State
from services.product.queries import BY_NAME, BY_RANK, ORDERS, Kept, Placed, ProductQueries, Wanted
from services.product.usecases import Catalogue, Imports

STAFF = frozenset({"support", "catalog", "warehouse", "finance", "admin"})


class ProductServicer:
    """The product service's rpcs."""

    contract = pb.DESCRIPTOR.services_by_name["ProductService"]

    def __init__(
        self,
        catalogue: Catalogue,
        imports: Imports,
        reports: Reports,
        queries: ProductQueries,
        pages: PageTokens,
        currency: str,
    ) -> None:
        """Serve these."""
        self._catalogue = catalogue
        self._imports = imports
        self._reports = reports
        self._queries = queries
        self._pages = pages
        self._currency = currency

    @property
    def together(self) -> Mapping[str, SetForm]:
        """What is done for many callers at once."""
        return {
            "GetProduct": self.get_products,
            "ListProducts": self.list_products,
            "BatchGetOffers": self.batch_get_offers,
        }

    def ListProducts(self, request: pb.ListProductsRequest, context: ServicerContext) -> Ready:
        """Products in an order."""
        wanted = messages.narrowed(Wanted(_visible(request.state)), request, self._currency)
        page = self._pages.page(request)
        order = ORDERS.get(request.order_by, BY_NAME)
        listed = page.of(self._queries.list_products(wanted, order, page.after, page.most), _cursor)
        rest = pb.ListProductsResponse(next_page_token=listed.next_page_token)
        return messages.with_products(rest, (each.message for each in listed.items))

    def list_products(self, items: Sequence[Item]) -> Sequence[Ready | Exception]:
        """The same for many. Whoever asks for the same list gets the same one, read once."""
        answers: dict[tuple[bytes, bool], Ready | Exception] = {}
        for item in items:
            key = _same_list(item)
            if key not in answers:
                answers[key] = item.run(_outcome, self.ListProducts, item.request, None)
        return [answers[_same_list(item)] for item in items]

    def SearchProducts(self, request: pb.SearchProductsRequest, context: ServicerContext) -> Ready:
        """Products by words, and how all that match spread."""
        state = _visible(request.state)
        page = self._pages.page(request)
        if not (meant := self._queries.meaning(request.q, state)):
            return messages.with_products(pb.SearchProductsResponse(facets=pb.Facets()), ())
        wanted = messages.narrowed(meant, request, self._currency)
        order = ORDERS.get(request.order_by, BY_RANK)
        found = page.of(self._queries.list_products(wanted, order, page.after, page.most), _cursor)
        facets = messages.facets_to_pb(self._queries.facets(wanted))
        rest = pb.SearchProductsResponse(next_page_token=found.next_page_token, facets=facets)
        return messages.with_products(rest, (each.message for each in found.items))

    def BatchGetProducts(self, request: pb.BatchGetProductsRequest, context: ServicerContext) -> Ready:
        """Many products."""
        staff, ids = _is_staff(), [each.lower() for each in request.ids]
        seen = {id_: each.message for id_, each in self._queries.ready(ids).items() if staff or each.on_sale}
        missing = [each for each in dict.fromkeys(ids) if each not in seen]
        rest = pb.BatchGetProductsResponse(missing=missing)
        return messages.with_products(rest, (seen[each] for each in ids if each in seen))

    def GetProduct(self, request: pb.GetProductRequest, context: ServicerContext) -> Ready:
        """One product."""
        product_id = request.id.lower()
        return _shown(self._queries.ready([product_id]).get(product_id), _is_staff())

    def get_products(self, items: Sequence[Item]) -> Sequence[Ready | Exception]:
        """The same for many, by one statement."""
        ids = [item.request.id.lower() for item in items]
        found = self._queries.ready(list(dict.fromkeys(ids)))
        return [_outcome(_shown, found.get(id_), _is_staff(item.call)) for id_, item in zip(ids, items, strict=True)]

    def CreateProduct(self, request: pb.CreateProductRequest, context: ServicerContext) -> pb.Product:
        """Make a product."""
        values = messages.new_product(request.product, self._currency)
        return self._as_it_is(self._catalogue.create_product(values, current_call().key))

    def UpdateProduct(self, request: pb.UpdateProductRequest, context: ServicerContext) -> pb.Product:
        """Change some fields."""
        product_id = _id("product.id", request.product.id)
        values = messages.product_changes(request.product, request.update_mask.paths, self._currency)
        self._catalogue.update_product(product_id, request.product.etag, values)
        return self._as_it_is(product_id)

    def ArchiveProduct(self, request: pb.ArchiveProductRequest, context: ServicerContext) -> pb.Product:
        """Take a product out of the shop."""
        self._catalogue.archive_product(UUID(request.id), request.etag, current_call().key)
        return self._as_it_is(UUID(request.id))

    def ImportProducts(
        self, requests: Iterator[pb.ImportProductsRequest], context: ServicerContext
    ) -> pb.ImportProductsResponse:
        """Make products as rows say."""
        keyed = Keyed(requests)
        return self._reports.once(keyed.key, pb.ImportProductsResponse, lambda: self._import(keyed), keyed.digest)

    def _import(self, requests: Iterable[pb.ImportProductsRequest]) -> pb.ImportProductsResponse:
        rows = ([messages.row_from_pb(row, self._currency) for row in request.rows] for request in requests)
        report = self._imports.import_products(ahead(rows))
        current_call().written.clear()  # the trailer that tells writers what they wrote holds no ten thousand ids
        return messages.report_to_pb(report)

    def ListCategories(self, request: pb.ListCategoriesRequest, context: ServicerContext) -> pb.ListCategoriesResponse:
        """The tree."""
        page = self._pages.page(request)
        roots = page.of(self._queries.list_categories(page.after, page.most), lambda last: (last[1],))
        nodes = self._queries.trees([root for root, _ in roots.items])
        return pb.ListCategoriesResponse(
            categories=map(messages.node_to_pb, nodes), next_page_token=roots.next_page_token
        )

    def GetCategory(self, request: pb.GetCategoryRequest, context: ServicerContext) -> pb.Category:
        """One category with all below it."""
        return messages.node_to_pb(self._queries.tree(UUID(request.id)))

    def CreateCategory(self, request: pb.CreateCategoryRequest, context: ServicerContext) -> pb.Category:
        """Make a category."""
        values = messages.category_values(request.category)
        made = self._catalogue.create_category(values["name"], values["parent_id"], current_call().key)
        return messages.node_to_pb(self._queries.tree(made))

    def UpdateCategory(self, request: pb.UpdateCategoryRequest, context: ServicerContext) -> pb.Category:
        """Rename or move a category."""
        category_id = _id("category.id", request.category.id)
        values = messages.category_changes(request.category, request.update_mask.paths)
        self._catalogue.update_category(category_id, request.category.etag, values)
        return messages.node_to_pb(self._queries.tree(category_id))

    def BatchGetOffers(self, request: pb.BatchGetOffersRequest, context: ServicerContext) -> pb.BatchGetOffersResponse:
        """What an order needs of SKUs."""
        return pb.BatchGetOffersResponse(offers=map(messages.offer_to_pb, self._queries.offers(request.skus)))

    def batch_get_offers(self, items: Sequence[Item]) -> Sequence[pb.BatchGetOffersResponse]:
        """The same for many orders, by one statement."""
        offers = self._queries.offers({sku: None for item in items for sku in item.request.skus})
        found = {offer.sku: messages.offer_to_pb(offer) for offer in offers}
        return [
            pb.BatchGetOffersResponse(offers=[found[sku] for sku in dict.fromkeys(item.request.skus) if sku in found])
            for item in items
        ]

    def _as_it_is(self, product_id: UUID) -> pb.Product:
        return messages.product_to_pb(self._queries.product(product_id, drafts=True))


def _is_staff(call: Call | None = None) -> bool:
    return bool((call or current_call()).principal.roles & STAFF)


def _shown(found: Kept | None, staff: bool) -> Ready:
    """A product to somebody who may see it. NotFound."""
    if found and (staff or found.on_sale):
        return Ready(found.message)
    raise NotFound


def _same_list(item: Item) -> tuple[bytes, bool]:
    return item.request.SerializeToString(deterministic=True), _is_staff(item.call)


def _outcome(act: Callable[..., Ready], *args: Any) -> Ready | Exception:
    try:
        return act(*args)
    except MercatoError as refusal:
        return refusal


def _visible(asked: int) -> State:
    """The state that a list is about. PermissionDenied if one is named by somebody who is not staff."""
    if asked and not _is_staff():
        raise PermissionDenied("only staff may ask for products by state")
    return messages.state_of(asked) or State.ACTIVE


def _cursor(last: Placed) -> tuple[str | int, str]:
    return last.key, str(last.id)


def _id(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidArgument.of(field, "must be a UUID", "STRING_UUID") from None
