"""Whether an answer over REST is as promised: no 5xx, in the document's shape, and no word about our insides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from chaos.fuzz.rest_cases import Case
from chaos.fuzz.wire import Answer

_PROBLEM, _JSON = "application/problem+json", "application/json"
_INSIDES = (b"Traceback (most", b"psycopg", b"site-packages", b"grpc._", b"postgresql://")
_LONGEST_CHECKED = 20_000
# Limits that say "later": a read waits for what was written, a service has too much to do.
_LATER = frozenset({"NOT_YET_CONSISTENT", "OVERLOADED"})


class Judge:
    """Knows the document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._responses = {
            f"{method.upper()} {path}": operation["responses"]
            for path, item in document["paths"].items()
            for method, operation in item.items()
        }
        self._validator = cache(self._compiled)

    def excuse(self, answer: Answer) -> str:
        """The limit on purpose that refused this, if one did."""
        later = answer.status in (429, 503) and "retry-after" in answer.headers
        return f"{answer.status} {answer.reason}" if later and (answer.status == 429 or answer.reason in _LATER) else ""

    def faults(self, case: Case, answer: Answer) -> Iterator[str]:
        """What is wrong with an answer."""
        if not answer.status:
            # Who does not speak HTTP, or stops in the middle, may be hung up on.
            if case.proper or answer.trouble != "closed":
                yield answer.trouble
            return
        if answer.status >= 500 and not self.excuse(answer):
            yield f"{answer.status} {answer.reason}"
        if inside := next((each for each in _INSIDES if each in answer.body), None):
            yield f"tells of our insides: {inside.decode()}"
        if answer.status >= 400:
            yield from self._problem(case, answer)
        elif case.kind == "made":
            yield from self._success(case, answer)

    def _problem(self, case: Case, answer: Answer) -> Iterator[str]:
        if case.request.method == "HEAD" or (not case.proper and not answer.body):
            return  # what is no HTTP is refused by the server itself, in one line
        if answer.kind != _PROBLEM:
            yield f"{answer.status} is no problem, but {answer.kind or 'nothing'}"
            return
        body = answer.json
        yield from self._misfits("#/components/schemas/Problem", body)
        if isinstance(body, dict):
            if body.get("status") != answer.status:
                yield "the problem's status is another one"
            if body.get("requestId") != answer.headers.get("x-request-id"):
                yield "the problem's requestId is not in X-Request-Id"

    def _success(self, case: Case, answer: Answer) -> Iterator[str]:
        known = self._responses[case.route]
        if answer.status == 304 and case.request.method == "GET":
            return
        if str(answer.status) not in known:
            yield f"{answer.status} is not in the document"
            return
        content = known[str(answer.status)].get("content", {})
        if not content:
            if answer.body:
                yield f"{answer.status} has a body"
            return
        if answer.kind not in content:
            yield f"{answer.status} is {answer.kind}"
        elif answer.kind == _JSON and len(answer.body) < _LONGEST_CHECKED:
            yield from self._fits(answer, content[_JSON]["schema"])

    def _fits(self, answer: Answer, schema: Mapping[str, Any]) -> Iterator[str]:
        if "$ref" in schema:
            yield from self._misfits(schema["$ref"], answer.json)

    def _misfits(self, reference: str, body: Any) -> Iterator[str]:
        for error in self._validator(reference).iter_errors(body):
            yield f"not as in the document at {error.json_path}: {error.message[:120]}"
            return

    def _compiled(self, reference: str) -> Draft202012Validator:
        return Draft202012Validator({"$ref": reference, "components": self._document["components"]})
