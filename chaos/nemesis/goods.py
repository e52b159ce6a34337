"""What is sold in an arena: some groceries, few of each, so that shoppers get into each other's way."""

from __future__ import annotations

import gzip
from pathlib import Path

from shop.catalogue import Catalogue
from shop.dirt import PRODUCTS, TRANSACTIONS

SKUS = tuple(str(1_000_001 + number) for number in range(24))
HOT = SKUS[:3]
"""What everybody wants."""
APART = tuple(str(2_000_001 + number) for number in range(64))
"""What no crowd buys."""
_LISTED = "product_id,manufacturer_id,department,brand,product_category,product_type,package_size\n"
_SOLD = (
    "household_id,store_id,basket_id,product_id,quantity,sales_value,retail_disc,coupon_disc,coupon_match_disc,"
    "week,transaction_timestamp\n"
)


def catalogue(folder: Path) -> Catalogue:
    """The groceries as the panel would list them, each sold once at a price of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    skus = (*SKUS, *APART)
    listed = (f"{sku},1,GROCERY,Nemesis,BISCUITS,BISCUITS {sku},1 OZ\n" for sku in skus)
    sold = (f"1,1,{number},{sku},1,{1 + number}.{number:02},0,0,0,1,2017-01-01\n" for number, sku in enumerate(skus))
    for name, header, rows in ((PRODUCTS, _LISTED, listed), (TRANSACTIONS, _SOLD, sold)):
        with gzip.open(folder / name, "wt") as file:
            file.writelines([header, *rows])
    return Catalogue(folder)
