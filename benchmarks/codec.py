"""CPU of the compiled JSON codec for one message, beside protobuf's own `json_format`.

    python -m benchmarks.codec --seconds 0.5

Each message is written and read again by both, in turn, for so many seconds each; the least CPU of five rounds counts,
which is what depends least on the neighbours. Written are replies (from a message to bytes of JSON), read are requests
(from bytes to a message, duplicate keys and unknown fields refused); a list is read too, though no client sends one.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from gateway.json_text import loads
from gateway.reader import reader
from gateway.writer import dumps, writer
from mercato.api.order.v1 import order_pb2
from mercato.api.product.v1 import product_pb2

ROUNDS = 5
ID = "0190a6e0-0000-7000-8000-00000000000a"
MILK = {
    "id": ID,
    "title": "Whole milk, pasteurised",
    "description": "Fresh from the region, " * 8,
    "brand": "Mountain Dairy",
    "categoryId": ID,
    "categoryPath": ["Dairy", "Milk"],
    "attributes": {"fat": "3.5"},
    "state": "ACTIVE",
    "variants": [
        {"id": ID, "sku": f"MILK-{size}", "title": size, "size": size, "barcode": "0123456789012", "price": price}
        for size, price in (
            ("1 l", {"currencyCode": "USD", "units": "3", "nanos": 490000000}),
            ("2 l", {"currencyCode": "USD", "units": "5", "nanos": 990000000}),
        )
    ],
    "etag": "7",
    "createTime": "2026-01-31T08:00:00.123456Z",
    "updateTime": "2026-02-01T09:30:00Z",
}
BASKET = {
    "lines": [{"sku": f"SKU-{number}", "quantity": number + 1} for number in range(4)],
    "addressId": ID,
    "slotId": ID,
    "paymentMethod": "pm_card_visa",
    "expectedTotal": {"currencyCode": "USD", "units": "42", "nanos": 0},
    "note": "Ring twice",
}
ROW = {"sku": "MILK-1", "title": "Whole milk", "brand": "Dairy", "categoryPath": ["Dairy", "Milk"], "size": "1 l"}
ROW_PRICED = {**ROW, "price": {"currencyCode": "USD", "units": "3", "nanos": 490000000}}
MESSAGES: dict[str, tuple[type[Message], dict[str, Any]]] = {
    "product": (product_pb2.Product, MILK),
    "list of 20": (product_pb2.ListProductsResponse, {"products": [MILK] * 20}),
    "basket to order": (order_pb2.PlaceOrderRequest, BASKET),
    "row of an import": (product_pb2.ImportRow, ROW_PRICED),
}


def cpu(act: Callable[[], Any], seconds: float) -> float:
    """Microseconds of CPU that one act takes, in the best of a few rounds."""
    act()
    best = float("inf")
    for _ in range(ROUNDS):
        acts, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds / ROUNDS:
            for _ in range(10):
                act()
            acts += 10
        best = min(best, spent / acts)
    return best * 1e6


def compare(kind: type[Message], value: dict[str, Any], seconds: float) -> list[tuple[str, float, float]]:
    """What writing and reading a message takes us, and protobuf."""
    message: Any = json_format.ParseDict(value, kind())
    write, read = writer(message.DESCRIPTOR), reader(message.DESCRIPTOR)
    body = dumps(value)

    def ours() -> Any:
        found = kind()
        read.merge(found, loads(body))
        return found

    if ours() != message:
        raise SystemExit(f"{kind.__name__} is read otherwise than by protobuf")
    return [
        (
            "write",
            cpu(lambda: dumps(write(message)), seconds),
            cpu(lambda: _theirs(message), seconds),
        ),
        ("read", cpu(ours, seconds), cpu(lambda: json_format.Parse(body, kind()), seconds)),
    ]


def _theirs(message: Message) -> bytes:
    """The same bytes but for blanks: fields without presence are written, whatever they hold."""
    return json_format.MessageToJson(message, indent=None, always_print_fields_with_no_presence=True).encode()


def main() -> None:
    """Measure, and print a table."""
    about = __doc__ or ""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=0.5, help="for each message, way and codec (default 0.5)")
    seconds = options.parse_args().seconds
    table = Table(title="CPU of one message, microseconds")
    for column in ("message", "bytes", "way", "compiled", "json_format", "times as fast"):
        table.add_column(column, justify="left" if column in ("message", "way") else "right")
    for name, (kind, value) in MESSAGES.items():
        for way, ours, theirs in compare(kind, value, seconds):
            size = f"{len(dumps(value)):,}"
            table.add_row(name, size, way, f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
