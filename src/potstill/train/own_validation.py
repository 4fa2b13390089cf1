"""A student in the middle of its training, measured on what it writes to validation prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from potstill.models.generate import Request
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.recipe import OnPolicyConfig
from potstill.train.best import BOTH, OWN_KL
from potstill.train.live_teacher import LiveTeacher
from potstill.train.own_answers import written_by
from potstill.train.rollouts import Rollouts
from potstill.train.step_source import AsComputed
from potstill.work.corpus import Corpus, fitting
from potstill.work.own_divergence import own_reverse_kl
from potstill.work.step_plan import Order

Figures = Callable[[LoadedModel], dict[str, float]]


_NOT_OWN = (
    "train: how far the student is from its teacher on its own answers is not measured on "
    "validation prompts, since a server does not tell its whole distribution; which student is "
    "kept is decided by the teacher's text"
)


def with_own(
    measure: Figures,
    steps: Rollouts,
    student: LoadedModel,
    corpus: Corpus,
    vocabulary: VocabularyMap | None,
    order: Order,
    progress: Progress,
) -> Figures:
    """Return what measures a student on its own answers too, where the teacher can tell of them.

    Says so where it cannot.
    """
    teacher = steps.teacher
    if not isinstance(teacher, LiveTeacher):
        progress.note(_NOT_OWN)
        return measure
    rows = corpus.exchanges("validation")
    texts, _ = fitting(corpus.texts(rows, student, vocabulary), student)
    prompts = {text.exchange.prompt_id: text.prompt_ids for text in texts}
    if not prompts:
        # The run counts those that are longer than what the student reads.
        return measure
    requests = validation_requests(prompts, order, steps.config.validation_answers)
    return OwnValidation(measure, steps.student, requests, teacher, steps.config)


class OwnValidation:
    """Measures a student on its own answers beside what `on_stored` measures.

    It answers as it does for its steps, by numbers that come of a request's key alone: the same
    ones at every measurement, so that students are compared and not their luck. The teacher, which
    is in memory, reads each answer. `student` returns it as training computes it.
    """

    def __init__(
        self,
        on_stored: Figures,
        student: AsComputed,
        requests: Sequence[Request],
        teacher: LiveTeacher,
        config: OnPolicyConfig,
    ) -> None:
        self._on_stored, self._student = on_stored, student
        self._requests, self._teacher, self._config = requests, teacher, config

    def __call__(self, student: LoadedModel) -> dict[str, float]:
        """Return what `on_stored` finds, `own_kl` and the seconds that it took, and beside a `kl`
        the mean of both."""
        found = dict(self._on_stored(student))
        started = time.perf_counter()
        own = own_kl(self._student(), self._requests, self._teacher, self._config)
        found[OWN_KL] = own
        if "kl" in found:
            found[BOTH] = (found["kl"] + own) / 2
        found["own_validation_s"] = time.perf_counter() - started
        # Else the training pass takes as much beside it.
        release_freed()
        return found


def validation_requests(
    prompts: Mapping[str, tuple[int, ...]], order: Order, count: int
) -> list[Request]:
    """Return `count` requests for prompts by name, each once before any comes again.

    A key comes of the order, the prompt and how often that came before, so that no two are equal.
    """
    turns = [(name, n) for n in range(-(-count // len(prompts))) for name in sorted(prompts)]
    return [
        Request(order.keyed(f"on-policy/validation {name}/sample {n}"), prompts[name])
        for name, n in turns[:count]
    ]


def own_kl(
    student: LoadedModel,
    requests: Sequence[Request],
    teacher: LiveTeacher,
    config: OnPolicyConfig,
) -> float:
    """Return KL(student || teacher) a token, nats, over what a student writes to requests."""
    written = written_by(student, requests, config)
    texts = [(r.prompt_ids, w.token_ids) for r, w in zip(requests, written, strict=True)]
    sums = own_reverse_kl(
        [w.hidden_RD for w in written if w.hidden_RD is not None],
        head_of(student),
        teacher.hidden(texts),
        teacher.head,
        [response for _, response in texts],
        precise=False,
    )
    return float(sums.sum() / sum(len(response) for _, response in texts))
