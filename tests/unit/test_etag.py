import pytest

from mercato.errors import EtagMismatch, EtagRequired
from mercato.etag import check_etag, require_etag


def test_a_change_based_on_the_present_version_is_let_through() -> None:
    require_etag("7", 7)
    check_etag("7", 7)


def test_a_change_based_on_another_version_is_not() -> None:
    for check in (require_etag, check_etag):
        with pytest.raises(EtagMismatch):
            check("6", 7)


def test_an_etag_may_be_left_out_only_where_that_is_allowed() -> None:
    check_etag("", 7)
    with pytest.raises(EtagRequired):
        require_etag("", 7)
