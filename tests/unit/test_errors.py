"""The tree of errors."""

import pytest

from mercato import errors
from mercato.errors import (
    AlreadyExists,
    Conflict,
    EtagMismatch,
    FailedPrecondition,
    FieldViolation,
    IdempotencyKeyInUse,
    Internal,
    InvalidArgument,
    MercatoError,
    NotFound,
    Overloaded,
    Unauthenticated,
    Unavailable,
    category,
    revive,
)


class OutOfMilk(FailedPrecondition):
    """There is no milk."""

    def __init__(self, wanted: int, available: int) -> None:
        super().__init__(f"only {available} left", wanted=wanted, available=available)


class TwiceKnown(NotFound):
    """One service's idea of it."""

    reason = "TWICE_KNOWN"


class TwiceKnownToo(NotFound):
    """Another service's idea of it."""

    reason = "TWICE_KNOWN"


def test_the_reason_is_the_class_name_in_capitals() -> None:
    assert OutOfMilk(2, 1).reason == "OUT_OF_MILK"
    assert EtagMismatch().reason == "ETAG_MISMATCH"


def test_keyword_arguments_become_metadata() -> None:
    assert OutOfMilk(2, 1).metadata == {"wanted": 2, "available": 1}


def test_an_error_without_words_says_what_its_class_says() -> None:
    assert str(NotFound()) == "There is no such resource."


def test_every_error_has_exactly_one_category() -> None:
    assert category(OutOfMilk(2, 1)) is FailedPrecondition
    assert category(Overloaded) is Unavailable
    assert category(MercatoError()) is Internal
    assert all(sum(issubclass(each, other) for other in errors.CATEGORIES) == 1 for each in errors.CATEGORIES)


def test_an_error_comes_back_as_the_class_registered_for_its_reason() -> None:
    error = revive(FailedPrecondition, "OUT_OF_MILK", "only 1 left", {"wanted": 2})
    assert type(error) is OutOfMilk
    assert error.metadata == {"wanted": 2}


def test_an_unknown_reason_comes_back_as_its_category() -> None:
    error = revive(AlreadyExists, "NEVER_HEARD_OF", "no", {})
    assert type(error) is AlreadyExists
    assert error.reason == "NEVER_HEARD_OF"


def test_a_reason_of_another_category_is_not_taken_for_ours() -> None:
    assert type(revive(NotFound, "OUT_OF_MILK", "", {})) is NotFound


@pytest.mark.parametrize("cls", [TwiceKnown, TwiceKnownToo])
def test_a_reason_known_to_two_services_in_one_process_is_caught_by_either(cls: type[NotFound]) -> None:
    assert isinstance(revive(NotFound, "TWICE_KNOWN", "", {}), cls)


@pytest.mark.parametrize("error", [NotFound(), OutOfMilk(1, 0), InvalidArgument.of("a", "b"), EtagMismatch()])
def test_a_decision_of_the_callee_is_definite(error: MercatoError) -> None:
    assert error.definite


@pytest.mark.parametrize(
    "error", [Unavailable(), Overloaded(), Internal(), Conflict(), IdempotencyKeyInUse(), Unauthenticated()]
)
def test_silence_overload_defects_and_lost_races_are_not_definite(error: MercatoError) -> None:
    assert not error.definite


def test_a_status_without_a_reason_is_not_definite() -> None:
    assert not revive(NotFound, "", "who knows", {}).definite


def test_fields_that_are_wrong_are_named_in_the_text() -> None:
    error = InvalidArgument.about([FieldViolation("lines[0].quantity", "RANGE", "must be at most 99")])
    assert str(error) == "lines[0].quantity: must be at most 99"
    assert error.fields[0].reason == "RANGE"


def test_an_error_may_say_when_to_come_back_without_changing_its_class() -> None:
    assert Unavailable().after(2.5).retry_after == 2.5
    assert Unavailable().retry_after is None
