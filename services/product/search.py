"""What a search means: its words, and which known words a mistyped one may stand for."""

import re
from collections.abc import Iterable, Mapping, Sequence

MOST_WORDS = 8
MOST_MEANINGS = 8
_WORD = re.compile(r"[^\W_]{1,40}")


def words(text: str) -> dict[str, None]:
    """The words of a text, each once, in small letters, in their order."""
    return dict.fromkeys(_WORD.findall(text.lower()))


def terms(q: str) -> list[str]:
    """The words that a search is for: the first ones, if somebody types in a novel."""
    return list(words(q))[:MOST_WORDS]


def beginnings(terms: Iterable[str]) -> str:
    """A tsquery: every word, or one that begins with it."""
    return " & ".join(f"{term}:*" for term in terms)


def whole(terms: Iterable[str]) -> str:
    """A tsquery: any of the words as they stand."""
    return " | ".join(terms)


def meanings(terms: Iterable[str], known: Mapping[str, Sequence[str]]) -> list[str]:
    """Tsqueries, the stricter first: what all of the words may stand for, then any of them. Empty if none is known."""
    groups = [f"({' | '.join(near)})" for near in (nearest(term, known.get(term, ())) for term in terms) if near]
    return [" & ".join(groups), " | ".join(groups)] if groups else []


def allowance(term: str) -> int:
    """How many typing errors a word of this length may have."""
    return 0 if len(term) < 3 else 1 if len(term) < 6 else 2


def nearest(term: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that are closest to the word, if it may be a mistyped one of them."""
    close = sorted((distance(term, each), each) for each in candidates)
    least = min([allowance(term), *(errors for errors, _ in close[:1])])
    return [each for errors, each in close if errors == least][:MOST_MEANINGS]


def distance(typed: str, meant: str) -> int:
    """Typing errors between a word and another one, or the other's beginning if that is closer."""
    return min(_errors(typed, meant), _errors(typed, meant[: len(typed)]))


def _errors(a: str, b: str) -> int:
    """Optimal string alignment (Damerau 1964): letters too many, missing, wrong, or two that changed places."""
    above: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        above, before, row = row, above, [i]
        for j, other in enumerate(b, start=1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]
