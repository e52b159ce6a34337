"""What the commands about operations share: a stub of each service, asked as the operator."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from mercato.api.ops.v1.ops_pb2_grpc import OpsServiceStub
from mercato.auth import Signer
from mercato.errors import MercatoError, NotFound
from mercato.keys import UnfitKey
from mercato.local.mesh import Mesh
from mercato.local.table import SERVICES
from mercato.local.trouble import Trouble
from mercato.rpc.channel import Channels

T = TypeVar("T")
OPERATOR = "operator"
PAGE = 200


@contextmanager
def asked(here: Mesh) -> Iterator[Callable[[str], OpsServiceStub]]:
    """Within the block, a stub of the operations of a service."""
    try:
        channels = Channels(Signer.load(here.home.keys, OPERATOR), here.targets)
    except UnfitKey as unfit:
        raise Trouble(f"The operator has no key: {unfit}.", "Make the keys: mercato up.") from unfit
    try:
        yield lambda service: channels.stub(OpsServiceStub, callee=known(service))
    except MercatoError as error:
        raise Trouble(f"{error.message.rstrip('.')}.", _advice(error)) from error
    finally:
        channels.close()


def known(service: str) -> str:
    """The name of a service that there is."""
    names = [each.name for each in SERVICES]
    if service not in names:
        raise Trouble(f"There is no service {service!r}.", f"There are: {', '.join(names)}.")
    return service


def all_pages(ask: Callable[[str], Any], items: Callable[[Any], Any]) -> Iterator[Any]:
    """Every item of a list, page by page."""
    token = ""
    while True:
        page = ask(token)
        yield from items(page)
        token = page.next_page_token
        if not token:
            return


def told_time(time: Timestamp) -> str:
    """A time as people read it, and how long ago it was."""
    moment = time.ToDatetime(UTC)
    minutes = int((datetime.now(UTC) - moment).total_seconds()) // 60
    ago = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"
    return f"{moment:%Y-%m-%d %H:%M:%S} ({ago})"


def _advice(error: MercatoError) -> str:
    return "" if error.definite or isinstance(error, NotFound) else "See mercato status."
