"""The panel's shouting, made readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.panel import products
from shop.words import is_vague, size, words


@pytest.mark.parametrize(
    ("shouted", "readable"),
    [
        ("FRZN ICE", "Frozen Ice"),
        ("SZNL", "Seasonal"),
        ("SNSL/PROMO", "Seasonal/Promotional"),
        ("FRZN MEAT/MEAT DINNERS", "Frozen Meat/Meat Dinners"),
        ("DRUG GM", "Drug & General Merchandise"),
        ("ELECT &PLUMBING", "Electrical & Plumbing"),
        ("FITNESS&DIET", "Fitness & Diet"),
        ("BROOMS AND MOPS", "Brooms and Mops"),
        ("SUNTAN PRODUCTS W/O SPF", "Suntan Products without SPF"),
        ("CANDY BAGS-CHOCOCLATE W/FLOUR", "Candy Bags-Chocolate with Flour"),
        ("APPLE JUICE & CIDER (50% AND U", "Apple Juice & Cider (50% and under)"),
        ("APPLE JUICE & CIDER (OVER 50%", "Apple Juice & Cider (over 50%)"),
        ("GRAPE JUICE (OVER 50% JUICE)", "Grape Juice (over 50%)"),
        ("CAN DOGFD GOURMET/SUPER PREM (", "Can Dog Food Gourmet/Super Premium"),
        ("MISC. HAIR & BEAUTY ACCESS.", "Misc. Hair & Beauty Accessories"),
        ("PKG.SEAFOOD MISC", "Packaged Seafood Misc."),
        ("BALLOONS 18IN PKG LICENSED", "Balloons 18 in Packaged Licensed"),
        ("HAM - BONE-IN WHOLE", "Ham - Bone-In Whole"),
        ("CHRISTMAS  SEASONAL", "Christmas Seasonal"),
        ("MENS SS SPT SHIRT", "Men's Short-Sleeve Sport Shirt"),
        ("", ""),
    ],
)
def test_abbreviations_become_words(shouted: str, readable: str) -> None:
    assert words(shouted) == readable


@pytest.mark.parametrize(
    ("given_size", "clean"),
    [
        ("10 LB", "10 lb"),
        ("14.5 OZ", "14.5 oz"),
        ("10    OZ", "10 oz"),
        ("12 PK/12 OZ", "12 pk/12 oz"),
        ("40 CT/2.6 Z", "40 ct/2.6 oz"),
        ("12 X9 YD", "12 x 9 yd"),
        ("1.5 INX60 YD", "1.5 in x 60 yd"),
        ("P    16 OZ", "16 oz"),
        ("P   .13 OZ", ".13 oz"),
        ("AB 1 DZ", "1 dozen"),
        ("22 CT344218", "22 ct"),
        ("05640  PK", "pk"),
        ("2 LB(32 OZ)", "2 lb (32 oz)"),
        ("1 QT.", "1 qt"),
        ("1.6 LB(", "1.6 lb"),
        ("LARGE", "large"),
        ("", ""),
    ],
)
def test_sizes_become_measures(given_size: str, clean: str) -> None:
    assert size(given_size) == clean


def test_a_type_that_says_little_is_known_as_vague() -> None:
    assert is_vague("PREMIUM")
    assert not is_vague("TOOTHPASTE")


def test_two_places_in_the_panels_tree_are_never_made_one() -> None:
    raw = {(row.department, row.category, row.type) for row in products()}
    assert len(raw) == len({tuple(map(words, place)) for place in raw})


@given(st.text(alphabet="ABCXYZ019 &/-.,:()%'$<=", max_size=30))
def test_cleaning_never_fails_and_leaves_no_loose_ends(text: str) -> None:
    clean = words(text)
    assert clean == clean.strip()
    assert "  " not in clean
    assert clean.count("(") <= clean.count(")")
    assert size(text) == size(text).strip()
