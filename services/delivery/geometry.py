"""Polygons on the map: which one a place lies in, and whether two share ground.

Corners are (latitude, longitude) in degrees, taken for a plane: at the size of a town that is exact to a few metres,
and the same for whoever asks. An edge is always computed from its southern end, whichever polygon it stands in, so that
two polygons with the same edge never disagree by a rounding error about the side that a place is on.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from math import cos, hypot, radians

Corner = tuple[float, float]
Edge = tuple[Corner, Corner]

# About a centimetre: ground narrower than that is the rounding of corners that were meant to touch.
TOLERANCE = 1e-7
_KILOMETRES_PER_DEGREE = 111.195


def contains(polygon: Sequence[Corner], place: Corner) -> bool:
    """Whether a place lies in the polygon or on its edge (by counting the edges that lie to the east of it)."""
    inside = False
    for south, north in _edges(polygon):
        side = _side(south, north, place)
        if side == 0 and _framed(south, north, place):
            return True
        if south[0] <= place[0] < north[0] and side > 0:
            inside = not inside
    return inside


def overlap(one: Sequence[Corner], other: Sequence[Corner]) -> bool:
    """Whether two polygons have ground in common that is wider than a rounding error; a common edge is none.

    Cut along every latitude at which either has a corner or both cross: between two cuts no edge begins, ends or
    crosses, so that the line half-way decides for the whole strip.
    """
    edges, others = list(_edges(one)), list(_edges(other))
    cuts = sorted({*_latitudes(one), *_latitudes(other), *_crossings(edges, others)})
    for south, north in pairwise(cuts):
        if north - south > TOLERANCE and _meet(_spans(edges, (south + north) / 2), _spans(others, (south + north) / 2)):
            return True
    return False


def simple(polygon: Sequence[Corner]) -> bool:
    """Whether the polygon has an inside: no corner twice, no edge that crosses another, and some ground."""
    if len(set(polygon)) < max(len(polygon), 3):
        return False
    if any(_crossing(one, other) is not None for one, other in combinations(_edges(polygon), 2)):
        return False
    return any(
        _widest(_spans(list(_edges(polygon)), (south + north) / 2)) > TOLERANCE
        for south, north in pairwise(sorted(set(_latitudes(polygon))))
        if north - south > TOLERANCE
    )


def distance(one: Corner, other: Corner) -> float:
    """Kilometres as the crow flies, for places near each other."""
    east = (one[1] - other[1]) * cos(radians((one[0] + other[0]) / 2))
    return hypot(one[0] - other[0], east) * _KILOMETRES_PER_DEGREE


def _edges(polygon: Sequence[Corner]) -> Iterator[Edge]:
    for one, other in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        yield (one, other) if one <= other else (other, one)


def _latitudes(polygon: Iterable[Corner]) -> Iterator[float]:
    return (corner[0] for corner in polygon)


def _side(south: Corner, north: Corner, place: Corner) -> float:
    """Positive if the edge passes to the east of the place, 0 if the place is on its line."""
    up, along = north[0] - south[0], north[1] - south[1]
    return up * (south[1] - place[1]) - along * (south[0] - place[0])


def _framed(south: Corner, north: Corner, place: Corner) -> bool:
    west, east = sorted((south[1], north[1]))
    return south[0] <= place[0] <= north[0] and west <= place[1] <= east


def _crossings(edges: Sequence[Edge], others: Sequence[Edge]) -> Iterator[float]:
    for one in edges:
        for other in others:
            if (latitude := _crossing(one, other)) is not None:
                yield latitude


def _crossing(one: Edge, other: Edge) -> float | None:
    """The latitude at which two edges cross; None if they do not, or only touch."""
    if one[1][0] < other[0][0] or other[1][0] < one[0][0]:
        return None
    begins, ends = _side(*other, one[0]), _side(*other, one[1])
    if begins * ends >= 0 or _side(*one, other[0]) * _side(*one, other[1]) >= 0:
        return None
    return one[0][0] + (one[1][0] - one[0][0]) * begins / (begins - ends)


def _spans(edges: Sequence[Edge], latitude: float) -> list[tuple[float, float]]:
    """The stretches of a latitude, by longitude, that lie inside."""
    met = sorted(_longitude(*edge, latitude) for edge in edges if edge[0][0] < latitude < edge[1][0])
    return list(zip(met[::2], met[1::2], strict=True))


def _longitude(south: Corner, north: Corner, latitude: float) -> float:
    return south[1] + (north[1] - south[1]) * (latitude - south[0]) / (north[0] - south[0])


def _meet(spans: Iterable[tuple[float, float]], others: Sequence[tuple[float, float]]) -> bool:
    return any(
        min(east, other_east) - max(west, other_west) > TOLERANCE
        for west, east in spans
        for other_west, other_east in others
    )


def _widest(spans: Iterable[tuple[float, float]]) -> float:
    return max((east - west for west, east in spans), default=0.0)
