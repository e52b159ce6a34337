"""The panel's shouted abbreviations as readable words, by the small tables in `tables/`.

words.csv    one word: FRZN is Frozen
phrases.csv  where a word alone misleads, or the panel cut the text at its thirtieth character
vague.csv    types that say nothing without their category: FRESH, OTHER
sizes.csv    units and packages in sizes: DZ is dozen
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

_TABLES = Path(__file__).parent / "tables"
_SMALL = frozenset(
    {
        "and",
        "as",
        "except",
        "for",
        "from",
        "in",
        "including",
        "not",
        "of",
        "on",
        "or",
        "over",
        "the",
        "to",
        "under",
        "with",
    }
)
_UNITS = {
    "IN": "in",
    "ML": "ml",
    "MM": "mm",
    "LB": "lb",
    "LBS": "lb",
    "PK": "Pack",
    "PC": "pc",
    "LT": "l",
    "P": "proof",
}
_MEASURE = re.compile(rf"^(\d+(?:\.\d+)?)({'|'.join(_UNITS)})$")
_WORD = re.compile(r"\d+\.\d+[A-Z]*|[A-Z0-9'$%]+\.?|\s+|.")
_NUMBERED = re.compile(r"^[\d$.%]+$")

# Numbers of five digits and more, and the codes before some sizes ("P   16 OZ", "AB 1 DZ"), name an article.
_CODE = re.compile(r"^(?:(?:ABCD|ALL|AB|CR|EX|RR|[ABDELNPQRT])\s*)+(?=[.\d])")
_SIZE = re.compile(r"\d*\.?\d+|[A-Z]+|[/()-]|.")


@cache
def _table(name: str) -> dict[str, str]:
    with (_TABLES / f"{name}.csv").open(newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        return {row[0]: row[-1] for row in rows}


@cache
def _phrases() -> re.Pattern[str]:
    """Any phrase of the table, the longest first, where a word begins and ends."""
    longest_first = sorted(_table("phrases"), key=len, reverse=True)
    return re.compile("|".join(f"{_edge(p[0], '<')}{re.escape(p)}{_edge(p[-1], '')}" for p in longest_first))


def _edge(character: str, before: str) -> str:
    """A word's character must not continue into another one; anything goes beside punctuation."""
    return f"(?{before}![A-Z0-9])" if character.isalnum() else ""


@cache
def words(shouted: str) -> str:
    """A category or type as one would print it: `FRZN ICE` is `Frozen Ice`."""
    text, done = "", 0
    shouted = shouted.upper().strip()
    for match in _phrases().finditer(shouted):
        text += _plain(shouted[done : match.start()]) + _table("phrases")[match[0]] + " " * match[0].endswith("/")
        done = match.end()
    return _tidy(text + _plain(shouted[done:]))


@cache
def size(given: str) -> str:
    """A package's size: `10 LB` is `10 lb`, `12 X9 YD` is `12 x 9 yd`, `AB  1 DZ` is `1 dozen`."""
    text = _CODE.sub("", re.sub(r"\d{5,}|[\s_*]+|\.(?!\d)", " ", given.upper()).strip())
    parts = " ".join(_unit(part) for part in _SIZE.findall(text) if part.strip())
    parts = re.sub(r"\s*([/-])\s*", r"\1", parts)
    parts = re.sub(r"\(\s*", "(", re.sub(r"\s*\)", ")", parts))
    return re.sub(r"\s{2,}|^-|[-/(]$", " ", parts).strip()


def is_vague(shouted: str) -> bool:
    """Whether a type says nothing without its category."""
    return shouted.upper().strip() in _table("vague")


def _unit(part: str) -> str:
    known = _table("sizes").get(part)
    return part.lower() if known is None else known


def _plain(shouted: str) -> str:
    return "".join(map(_word, _WORD.findall(shouted)))


def _word(token: str) -> str:
    """One word in its case; a full stop after an abbreviation goes with it."""
    bare = token.removesuffix(".")
    if known := _table("words").get(bare):
        return known + " " * token.endswith(".")
    if measure := _MEASURE.match(bare):
        return f"{measure[1]} {_UNITS[measure[2]]}"
    if bare.lower() in _SMALL or _NUMBERED.match(bare):
        return token.lower()
    return token.capitalize()


def _tidy(text: str) -> str:
    """Even spacing, no bracket that was cut off, a capital at the start."""
    text = re.sub(r"\s*&\s*", " & ", text)
    text = re.sub(r"\s*:\s*", ": ", text)
    text = re.sub(r"\s*/\s*", "/", re.sub(r"\s+\)", ")", text))
    text = re.sub(r"(?<=\w)\(", " (", text)
    text = re.sub(r"\s+,", ",", re.sub(r"\s+", " ", text))
    text = re.sub(r"\s+", " ", re.sub(r"\s+-(?=\S)|(?<=\S)-\s+", " - ", text))
    text = _close(text).strip(" -,:/&")
    return text[:1].upper() + text[1:]


def _close(text: str) -> str:
    """Close a bracket that the panel cut off, or drop what is left of it where that is no word."""
    if text.count("(") <= text.count(")"):
        return text
    head, _, rest = text.rpartition("(")
    rest = rest.rstrip(" ,:/.-")
    return f"{_close(head)}({rest})" if len(rest) > 3 else _close(head.rstrip())
