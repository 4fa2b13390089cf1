"""Who can be asked for what: whose answers are learnt from, and whose distributions.

A sum type in place of questions about the recipe: each kind says what it can give, and a stage
that needs something else refuses by asking its kind, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from potstill.endpoint.identity import endpoint_identity
from potstill.recipe import CallsConfig, EndpointConfig, Recipe


@dataclass(frozen=True)
class Weights:
    """A model whose weights are at hand: it answers, and gives its states on any text."""

    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    can_answer: ClassVar[bool] = True
    # Hidden states, and the head that turns them into distributions.
    has_states: ClassVar[bool] = True
    reads_given_text: ClassVar[bool] = True


@dataclass(frozen=True)
class Server:
    """A model behind a server: it answers, and tells of its distribution what it likes to.

    `tells_targets`: the likeliest tokens that it tells are kept as targets.
    """

    model: str
    endpoint: EndpointConfig
    tells_targets: bool

    can_answer: ClassVar[bool] = True
    has_states: ClassVar[bool] = False

    @property
    def reads_given_text(self) -> bool:
        """Whether it tells how likely text is that it did not write."""
        return self.endpoint.scores_text

    @property
    def identity(self) -> str:
        """Its identity: host, model and revision, as far as anybody outside can know them."""
        return endpoint_identity(self.endpoint.provider, self.model, self.endpoint.revision)


@dataclass(frozen=True)
class PastCalls:
    """Answers that a model gave before: it can be asked for nothing more."""

    model: str
    calls: CallsConfig

    can_answer: ClassVar[bool] = False
    has_states: ClassVar[bool] = False
    reads_given_text: ClassVar[bool] = False


@dataclass(frozen=True)
class RightAnswers:
    """Right answers that the rows hold: nobody's."""

    model: str

    can_answer: ClassVar[bool] = False
    has_states: ClassVar[bool] = False
    reads_given_text: ClassVar[bool] = False


Author = Weights | Server | PastCalls | RightAnswers


@dataclass(frozen=True)
class Access:
    """What a recipe lets a run get at.

    `author` answers, or has answered. `scorer` is whose distributions are learnt from, None where
    there are none; a server may score what another wrote. `parent` is what the student is made
    from: the author, where its weights are at hand, else `student`. `student` is the trained model
    that the recipe has it begin as, where it names one.
    """

    author: Author
    scorer: Weights | Server | None
    parent: Weights
    student: Weights | None

    @classmethod
    def of(cls, recipe: Recipe) -> Access:
        """Return what a recipe, which was checked when it was read, gives access to."""
        author = _author(recipe)
        student = _student(recipe)
        if isinstance(author, Weights):
            return cls.to(author, student)
        assert student is not None  # the recipe is refused without one
        scorer = author if isinstance(author, Server) else _server(recipe)
        kept = scorer if scorer is not None and scorer.tells_targets else None
        return cls(author, kept, student, student)

    @classmethod
    def to(cls, teacher: Weights, student: Weights | None = None) -> Access:
        """Return access to a teacher whose weights are at hand."""
        return cls(teacher, teacher, teacher, student)

    @property
    def weights(self) -> Weights | None:
        """The author, where its weights are at hand; a server's are not, nor are past calls'."""
        return self.author if isinstance(self.author, Weights) else None

    @property
    def server(self) -> Server | None:
        """The server that is asked to answer, or to read what others wrote; None without one."""
        return next((who for who in (self.author, self.scorer) if isinstance(who, Server)), None)

    @property
    def reader(self) -> Server | None:
        """The server that reads answers which are not its own."""
        return self.server if not self.author.can_answer else None

    @property
    def target_server(self) -> Server | None:
        """The server whose likeliest tokens are learnt from."""
        return self.scorer if isinstance(self.scorer, Server) else None


def _author(recipe: Recipe) -> Author:
    stated, collect = recipe.teacher, recipe.collect
    if collect.gold:
        return RightAnswers(stated.model)
    if collect.calls is not None and collect.calls.use == "exchanges":
        return PastCalls(stated.model, collect.calls)
    return _server(recipe) or Weights(
        stated.model, stated.revision, stated.trust_remote_code, stated.template_arguments
    )


def _server(recipe: Recipe) -> Server | None:
    endpoint = recipe.teacher.endpoint
    if endpoint is None:
        return None
    return Server(recipe.teacher.model, endpoint, recipe.served_targets)


def _student(recipe: Recipe) -> Weights | None:
    stated = recipe.student
    if stated.model is None:
        return None
    return Weights(stated.model, template_arguments=stated.template_arguments)
