"""Who can be asked for what, and the refusal before anything is sent."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from pydantic import TypeAdapter, ValidationError

from potstill.errors import PotstillError
from potstill.trace.suspect import AnySuspect, Capability, Needing, Suspect, missing, require


@dataclass(frozen=True)
class Writes:
    """A test that takes whatever a suspect wrote."""

    test: str = "watermark-text"
    needs: ClassVar[frozenset[Capability]] = frozenset(("texts",))


@dataclass(frozen=True)
class Scores:
    """A test that has given text read."""

    test: str = "twins"
    needs: ClassVar[frozenset[Capability]] = frozenset(("scores_text",))


@dataclass(frozen=True)
class Reads:
    """A test that reads weights."""

    test: str = "weights"
    needs: ClassVar[frozenset[Capability]] = frozenset(("weights",))


def suspect(**given: Any) -> AnySuspect:
    found: AnySuspect = TypeAdapter[AnySuspect](Suspect).validate_python(given)
    return found


def served(**more: Any) -> AnySuspect:
    endpoint = {"url": "http://127.0.0.1:9/v1", "provider": "someone", **more}
    return suspect(kind="endpoint", model="m", endpoint=endpoint)


EVERY: list[Needing] = [Writes(), Scores(), Reads()]


@pytest.mark.parametrize(
    ("who", "refused"),
    [
        (suspect(kind="weights", model="folder"), []),
        (suspect(kind="weights", model="model.gguf"), []),
        (served(scores_text=True), ["weights"]),
        (served(), ["twins", "weights"]),
        (served(top_logprobs=5), ["twins", "weights"]),
        (suspect(kind="texts", name="x", paths=("a.jsonl",)), ["twins", "weights"]),
    ],
)
def test_each_kind_is_refused_what_it_cannot_give(who: AnySuspect, refused: list[str]) -> None:
    assert [test for test, _ in missing(who, EVERY)] == refused
    if not refused:
        require(who, EVERY)
        return
    with pytest.raises(PotstillError) as caught:
        require(who, EVERY)
    said = str(caught.value)
    assert f"the test {refused[0]} needs" in said
    assert "take the test out of the plan" in said
    assert "\n" not in said


def test_the_refusal_names_what_would_help() -> None:
    with pytest.raises(PotstillError, match=r"suspect\.endpoint\.scores_text"):
        require(served(), [Scores()])


def test_a_server_is_named_without_its_address() -> None:
    assert served(revision="r1").name == "someone/m@r1"


def test_a_key_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValidationError):
        suspect(kind="weights", model="m", endpoint={})
    with pytest.raises(ValidationError):
        suspect(kind="texts", name="x", paths=())


def test_it_is_read_without_torch() -> None:
    code = "import sys, potstill.trace.suspect; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
