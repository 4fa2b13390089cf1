"""What a trace needs open: teacher, suspect, controls, key and texts, each when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from potstill.canonical import digest_of
from potstill.collect.prompts import read_prompts
from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.models.load import load, load_tokenizer, locate
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.recipe import PromptsConfig
from potstill.recipe.trace import TraceConfig
from potstill.runs.marks import MarkTokenizer, tokens_of
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.remote import RemoteModel, spent_in
from potstill.trace.gather.scores import ScoringModel, reads_texts
from potstill.trace.marks import refuse_unbound
from potstill.trace.plan import TracePlan
from potstill.trace.served import ServedLog, new_salt, read_served_log
from potstill.trace.suspect import (
    AnySuspect,
    EndpointSuspect,
    TextsSuspect,
    WeightsSuspect,
)
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.watermark.vllm import scheme_of_file
from potstill.work.mark import training_mark

Asked = LocalModel | RemoteModel | TextsSuspect


class TraceParts:
    """Opens what a trace's settings name; `own` is the folder of what stays with the owner.

    With a plan nobody else goes through its tests than it fixes: another model, or other texts,
    under the same name raise PotstillError.
    """

    def __init__(
        self, config: TraceConfig, own: Path, progress: Progress, plan: TracePlan | None = None
    ) -> None:
        self.config = config
        self.own = own
        self.progress = progress
        self.plan = plan
        self._references: dict[str, ScoringModel] = {}

    def load(self, ref: str, **more: Any) -> LoadedModel:
        """Return a model, on the device and in the precision that the settings state."""
        self.progress.note(f"loading {ref}")
        return load(ref, device=self.config.device, precision=self.config.precision, **more)

    @cached_property
    def teacher(self) -> LoadedModel:
        """The teacher's weights. Raises PotstillError where the settings name none."""
        model = self.config.teacher.model
        if model is None:
            raise PotstillError("this test needs the teacher's weights; name them in teacher.model")
        loaded = self.load(model, revision=self.config.teacher.revision)
        known = None if self.plan is None else self.plan.teacher.identity
        return _as_planned(loaded, known, "teacher", "teacher.model")

    @cached_property
    def suspect(self) -> AnySuspect:
        """Who is tested, as the settings state it."""
        suspect = self.config.suspect
        if suspect.texts:
            digests = () if self.plan is None else self.plan.suspect.digests
            return TextsSuspect(name=suspect.name, paths=suspect.texts, digests=digests)
        assert suspect.model is not None
        if suspect.endpoint is not None:
            return EndpointSuspect(model=suspect.model, endpoint=suspect.endpoint)
        return WeightsSuspect(
            model=suspect.model,
            revision=suspect.revision,
            trust_remote_code=suspect.trust_remote_code,
            template_arguments=suspect.template_arguments,
        )

    @cached_property
    def suspect_model(self) -> LoadedModel:
        """The suspect's weights. Raises PotstillError where they are not at hand."""
        suspect = self.suspect
        if not isinstance(suspect, WeightsSuspect):
            raise PotstillError(
                "this test needs the suspect's weights; name a model without an endpoint in "
                "suspect.model, or take the test out"
            )
        loaded = self.load(
            suspect.model,
            revision=suspect.revision,
            trust_remote_code=suspect.trust_remote_code,
            template_arguments=suspect.template_arguments,
        )
        known = None if self.plan is None else self.plan.suspect.identity
        return _as_planned(loaded, known, "suspect", "suspect.model")

    def control(self, number: int) -> LoadedModel:
        """Return a control's weights."""
        loaded = self.load(self.config.controls[number])
        known = None if self.plan is None else self.plan.controls[number].identity
        return _as_planned(loaded, known, f"control {number}", "controls")

    @cached_property
    def served(self) -> ServedLog:
        """The served answers that twins are drawn for."""
        config = self.config.tests.twins
        assert config is not None
        with said_of("tests.twins.log"):
            return read_served_log(config.log, limit=config.exchanges)

    def scoring(self, model: LoadedModel) -> ScoringModel:
        """Return a model that reads the teacher's answers: their ids, or their text in its own."""
        if model.tokenizer_id == self.teacher.tokenizer_id:
            return ScoringModel(model)
        return ScoringModel(model, reads_texts(self.teacher, model))

    def reference(self, ref: str) -> ScoringModel:
        """Return the model that twins' scores are taken against: one for suspect and controls."""
        if ref not in self._references:
            self._references[ref] = self.scoring(self.load(ref))
        return self._references[ref]

    def asked(self, number: int, control: int | None) -> Asked:
        """Return who goes through the test at a place of the plan: the suspect, or a control."""
        if control is not None:
            return LocalModel(self.control(control), self.config.slots)
        suspect = self.suspect
        if isinstance(suspect, EndpointSuspect):
            spool = self.own / f"spool-{number}.jsonl"
            # One budget holds for all that the suspect is asked.
            others = [path for path in self.own.glob("spool-*.jsonl") if path != spool]
            return RemoteModel(suspect, spool, spent_in(others))
        if isinstance(suspect, TextsSuspect):
            return suspect
        return LocalModel(self.suspect_model, self.config.slots)

    @cached_property
    def scheme(self) -> GreenList | Gumbel:
        """The scheme with its key. Raises PotstillError where the key's file does not hold it."""
        config = self.config.watermark
        if config is not None and (others := scheme_of_file(Path(config.key))) is not None:
            refuse_unbound(others)
        try:
            mark = training_mark(self.config.watermark, None)
        except PotstillError as error:
            text = str(error).replace("collect.watermark", "watermark")
            raise PotstillError(text) from error
        if mark is None:
            raise PotstillError("a test looks for a mark; name the key's file in watermark.key")
        if mark.warning is not None:
            self.progress.note(mark.warning)
        return mark.scheme

    @cached_property
    def tokens(self) -> MarkTokenizer:
        """The teacher's tokenizer, in whose ids marks are."""
        return tokens_of(self._tokenizer_ref)

    @cached_property
    def token_texts(self) -> tuple[str, ...]:
        """The text of each of the teacher's ids, by which a server's tokenizer is told."""
        return tuple(self.tokens.spell())

    @cached_property
    def teacher_ids(self) -> dict[str, int] | None:
        """The teacher's ids by token; None where its tokenizer stands without a model."""
        folder = Path(self._tokenizer_ref).expanduser()
        if folder.is_dir() and not (folder / "config.json").is_file():
            return None
        return dict(load_tokenizer(locate(self._tokenizer_ref)).get_vocab())

    @property
    def _tokenizer_ref(self) -> str:
        teacher = self.config.teacher
        ref = teacher.tokenizer or teacher.model
        if ref is None:
            raise PotstillError(
                "marks are in the teacher's token ids; name its tokenizer in teacher.tokenizer"
            )
        return ref

    def encode(self, text: str) -> Sequence[int]:
        """Return a text in the teacher's ids."""
        return self.tokens.encode([text])[0]

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """What the suspect is asked: user's messages, each once, in the order of their file.

        Raises PotstillError for a prompt of several turns or with a system message.
        """
        config = self.config.prompts
        assert config.source is not None
        read = read_prompts(config.source, PromptsConfig(source=config.source))
        found: dict[str, None] = {}
        for turns in read:
            (*before, last) = turns.messages
            if before or last["role"] != "user" or turns.tools is not None:
                raise PotstillError(
                    f"{config.source} has prompts of several messages, or with tools, and a "
                    "suspect is asked single messages; give a file of these"
                )
            found[last["content"]] = None
        return tuple(found)[: config.count]

    @cached_property
    def prompts_digest(self) -> str:
        """The digest of what is asked, in its order."""
        return digest_of(list(self.prompts), 32)

    def salt(self) -> str:
        """Return the salt of this trace's digests of served text, made where there is none."""
        path = self.own / "salt"
        if not path.is_file():
            write_bytes(path, new_salt().encode())
        return path.read_text(encoding="ascii")


@contextmanager
def said_of(key: str) -> Iterator[None]:
    """Have what a reader of logs refuses say which key of a trace's settings named the log."""
    try:
        yield
    except PotstillError as error:
        raise PotstillError(str(error).replace("collect.calls.path", key)) from error


def _as_planned(model: LoadedModel, known: str | None, what: str, field: str) -> LoadedModel:
    """Return a model that is the one of the plan. Raises PotstillError for another."""
    if known not in (None, model.identity):
        raise PotstillError(
            f"the {what} is not the one of the plan (its digest is {model.identity}, planned was "
            f"{known}); bring that one back at {field}, or make another plan"
        )
    return model
