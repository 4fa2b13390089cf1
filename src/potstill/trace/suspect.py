"""Who is asked: a model's weights, a server, or texts that were collected; what each can give.

A plan names its suspect, and each of its tests says what it needs. What a suspect cannot give is
refused before anything is sent or loaded. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from potstill.endpoint.budget import Prices
from potstill.endpoint.settings import ServerSettings, SettingNames
from potstill.errors import PotstillError
from potstill.recipe import EndpointConfig
from potstill.trace.finding import TraceRecord
from potstill.work.stated import server_settings

# What a suspect can be asked for:
#   texts        texts that it wrote, whatever it was asked
#   answers      its answers to given prompts, drawn as the plan says
#   token_ids    the token ids of its answers, and ids that it can be given
#   scores_text  the log-probability of given text
#   chooses      its likeliest next token after given ids
#   weights      the weights themselves
Capability = Literal["texts", "answers", "token_ids", "scores_text", "chooses", "weights"]

_MEANS: dict[Capability, str] = {
    "texts": "texts that the suspect wrote",
    "answers": "answers to prompts of the plan",
    "token_ids": "token ids",
    "scores_text": "log-probabilities of given text",
    "chooses": "the suspect's own next token after given text",
    "weights": "the suspect's weights",
}
_NAMES = SettingNames.under("suspect.endpoint", model="suspect.model")


class WeightsSuspect(TraceRecord):
    """A model whose weights are at hand: a folder, a hub id, a GGUF file or `package:NAME`."""

    kind: Literal["weights"] = "weights"
    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    template_arguments: Mapping[str, Any] = {}

    words: ClassVar[str] = "weights"
    way_out: ClassVar[str] = "take the test out of the plan"

    @property
    def can(self) -> frozenset[Capability]:
        """Everything."""
        return frozenset(("texts", "answers", "token_ids", "scores_text", "chooses", "weights"))

    @property
    def name(self) -> str:
        """Who it is, as a verdict names it."""
        return self.model


class EndpointSuspect(TraceRecord):
    """A model behind a server: it answers, and reads given text where its settings say so."""

    kind: Literal["endpoint"] = "endpoint"
    model: str
    endpoint: EndpointConfig

    words: ClassVar[str] = "a server"
    way_out: ClassVar[str] = (
        "take the test out of the plan, set suspect.endpoint.scores_text where the server reads "
        "given text (vLLM's prompt_logprobs), or test the weights themselves"
    )

    @property
    def can(self) -> frozenset[Capability]:
        """Answers; with `scores_text` it reads given ids, and so shows its choice after each."""
        reads: tuple[Capability, ...] = ("scores_text", "chooses", "token_ids")
        return frozenset(("texts", "answers", *(reads if self.endpoint.scores_text else ())))

    @property
    def name(self) -> str:
        """Who it is, as far as anybody outside can know: never an address."""
        return self.settings.identity(self.model)

    @property
    def settings(self) -> ServerSettings:
        """How it is asked."""
        return server_settings(self.endpoint, _NAMES)

    @property
    def prices(self) -> Prices:
        """What a million of its tokens cost."""
        return self.settings.prices


class TextsSuspect(TraceRecord):
    """Texts that a model is known to have written, collected before; it can be asked nothing.

    `digests` are those of the files, in the order of `paths`: a plan fixes them.
    """

    kind: Literal["texts"] = "texts"
    name: str
    paths: tuple[str, ...] = Field(min_length=1)
    digests: tuple[str, ...] = ()

    words: ClassVar[str] = "a file of collected texts"
    way_out: ClassVar[str] = "take the test out of the plan, or give a model that can be asked"

    @property
    def can(self) -> frozenset[Capability]:
        """The texts that are there."""
        return frozenset(("texts",))


Suspect = Annotated[WeightsSuspect | EndpointSuspect | TextsSuspect, Field(discriminator="kind")]
AnySuspect = WeightsSuspect | EndpointSuspect | TextsSuspect


class Needing(Protocol):
    """A planned test, as far as its needs go."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What a suspect has to give."""
        ...

    @property
    def test(self) -> str:
        """Its name."""
        ...


def missing(suspect: AnySuspect, planned: Sequence[Needing]) -> Iterator[tuple[str, Capability]]:
    """Yield each planned test that needs what a suspect cannot give, with the first such need."""
    for one in planned:
        lacks = sorted(one.needs - suspect.can)
        if lacks:
            yield one.test, lacks[0]


def require(suspect: AnySuspect, planned: Sequence[Needing]) -> None:
    """Raise PotstillError where a planned test needs what a suspect cannot give.

    Nothing is sent or loaded before. The sentence names the test, what it needs and the way out.
    """
    for test, need in missing(suspect, planned):
        raise PotstillError(
            f"the test {test} needs {_MEANS[need]}, which {suspect.words} cannot give; "
            f"{suspect.way_out}"
        )
