"""Do nano students show the mark of the text that they learnt, and how does that fall with k?

A nano teacher of 2 nats writes marked text. A nano network of the same language, trained with
other weights and on other text, goes on to learn it: from the text, as whoever harvests answers
would, or, of a green list, from draws of the marked distribution, as a recipe does. Then it is
looked at twice:

- *reading*: it reads the marked text, and its own likeliest next token is scored behind each
  window that has not occurred before, anywhere, in plan order;
- *text*: it answers other prompts, and its text is scored as any text.

Beside it stands what the mark costs the student: KL(teacher || student) on the teacher's unmarked
answers to other prompts, and that of a student of unmarked text.

This is a trial of power: nothing is planned or committed to beforehand as a verdict asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from marked_text import Text, curve_of, write
from zoo.nano_teachers import MAX_TOKENS, Made, Training, nano_teacher, prompt_ids, train

from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden
from potstill.watermark.keys import EpochKey
from potstill.watermark.marking import MarkedLogits, OwnScheme
from potstill.watermark.schemes import GreenList, Gumbel

SEED = 20_261_130
NATS = 2.0
# Texts that are marked and learnt (about 70 tokens each), and texts that the student then writes.
TAUGHT, ASKED = 860, 240
EPOCHS = 3
LEARNING = 2e-3
POSITIONS = (250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)
SIZES = (2000, 4000, 8000, 16_000)
# Answers that students are compared with their teacher on.
HELD_OUT = 120
# Gamma and delta (None is Gumbel) and the windows of what is learnt from text, and from draws.
TEXT = ((None, (1, 2, 3, 4)), ((0.5, 1.0), (1, 2, 3, 4)), ((0.5, 2.0), (1, 2)))
DRAWN = (((0.5, 1.0), (1, 2, 4)), ((0.5, 2.0), (1,)))
DRAWS = 50
Row = dict[str, Any]
Exchange = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Reading:
    """A student's own choices behind windows that had not occurred: their number and log10 p."""

    positions: list[int]
    log10_p: list[float]


def student_rows(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield a row for each scheme and window; one that lies in `folder` is not run again.

    The first of what learnt alike is that of a student of unmarked text.
    """
    place = folder / ("quick-students" if quick else "students")
    place.mkdir(parents=True, exist_ok=True)
    for learnt, scheme in _cases(quick):
        file = place / f"{_name(scheme)}{'' if learnt == 'text' else '-draws'}.json"
        if not file.is_file():
            row = _row(folder / "nano", scheme, 60 if quick else TAUGHT, learnt)
            file.write_text(json.dumps(row), encoding="utf-8")
            print(file.stem, row, flush=True)
        yield {"learnt": learnt} | dict(json.loads(file.read_text(encoding="utf-8")))


def _cases(quick: bool) -> Iterator[tuple[str, OwnScheme | None]]:
    """Yield what is learnt, and the scheme that marks it."""
    for learnt, settings in (("draws", DRAWN), ("text", TEXT)):
        yield learnt, None
        for strength, windows in settings:
            for window in windows[:1] if quick else windows:
                yield learnt, _scheme(strength, window)


def _scheme(strength: tuple[float, float] | None, window: int) -> OwnScheme:
    secret = blake3(f"watermark_students {SEED} 0".encode()).digest(length=32)
    key = EpochKey("student-0", secret)
    return Gumbel(key, window) if strength is None else GreenList(key, window, *strength)


def _name(scheme: OwnScheme | None) -> str:
    if scheme is None:
        return "unmarked"
    named = "-".join(f"{name}{value:g}" for name, value in scheme.parameters().items())
    return f"{scheme.name}-{named}-{scheme.key.epoch}"


def _row(nano: Path, scheme: OwnScheme | None, taught: int, learnt: str) -> Row:
    made, base = nano_teacher(NATS, nano), nano_teacher(NATS, nano, seed=1)
    teacher, student = (
        load(str(one.directory), device="cpu", precision="fp32") for one in (made, base)
    )
    asked = max(30, taught * ASKED // TAUGHT)
    exchanges = _answers(teacher, made, scheme, taught, seed=SEED + 1)
    held_out = _answers(teacher, made, None, HELD_OUT, seed=SEED + 2)
    rows = 16
    how = Training(steps=max(1, EPOCHS * taught // rows), rows=rows, learning_rate=LEARNING)
    found: Row = {
        "student": f"nats-{NATS:g}",
        "scheme": None if scheme is None else scheme.name,
        "tokens_taught": sum(len(ids) for _, ids in exchanges),
        "epochs": EPOCHS,
        "kl_of_base": _short(kl_between(teacher, student, held_out)),
    }
    if scheme is not None:
        found |= scheme.parameters() | {
            "reading_of_base": vars(read_by(student, scheme, exchanges))
        }
    draws = _draws(teacher, scheme, exchanges) if learnt == "draws" else None
    found["loss"] = _short(train(student.network, exchanges, how, draws))
    found["kl"] = _short(kl_between(teacher, student, held_out))
    if scheme is not None:
        found["reading"] = vars(read_by(student, scheme, exchanges))
        found["text"] = {
            f"temperature {t:g}": _text(student, made, scheme, t, asked) for t in (1.0, 0.7)
        }
    return found


def _answers(
    teacher: LoadedModel, made: Made, scheme: OwnScheme | None, count: int, *, seed: int
) -> list[Exchange]:
    """Return what the teacher answers at temperature 1, as (prompt ids, response ids)."""
    pairs = made.language_of().exchanges(count, seed)
    prompts = [prompt_ids(teacher.tokenizer, prompt) for prompt, _ in pairs]
    found: list[Text] = []
    for first in range(0, count, 384):
        some = prompts[first : first + 384]
        (texts,) = write(teacher, [some], Sampling(max_tokens=MAX_TOKENS), [scheme], first=first)
        found += texts
    return [(prompt, text.ids) for prompt, text in zip(prompts, found, strict=True)]


@torch.no_grad()
def _draws(
    teacher: LoadedModel, scheme: OwnScheme | None, exchanges: Sequence[Exchange]
) -> list[torch.Tensor]:
    """Return draws_RK of the distribution that each token was drawn from, for each exchange."""
    bias = MarkedLogits(scheme) if isinstance(scheme, GreenList) else None
    generator = torch.Generator().manual_seed(SEED)
    found = []
    states = response_hidden(teacher, exchanges)
    for (_, ids), hidden_RD in zip(exchanges, states, strict=True):
        logits_RV = head_of(teacher).logits(hidden_RD)
        if bias is not None:
            logits_RV = logits_RV + bias.bias(ids, logits_RV.shape[1])
        p_RV = logits_RV.softmax(-1)
        found.append(
            torch.multinomial(p_RV, DRAWS, replacement=True, generator=generator).to(torch.int16)
        )
    return found


@torch.inference_mode()
def kl_between(teacher: LoadedModel, student: LoadedModel, texts: Sequence[Exchange]) -> float:
    """Return the mean of KL(teacher || student) over response tokens, in nats."""
    total, tokens = 0.0, 0
    pairs = zip(response_hidden(teacher, texts), response_hidden(student, texts), strict=True)
    for theirs_RD, own_RD in pairs:
        theirs_RV = head_of(teacher).logits(theirs_RD).log_softmax(-1)
        own_RV = head_of(student).logits(own_RD).log_softmax(-1)
        total += float((theirs_RV.exp() * (theirs_RV - own_RV)).sum())
        tokens += len(theirs_RV)
    return total / tokens


@torch.inference_mode()
def read_by(student: LoadedModel, scheme: OwnScheme, exchanges: Sequence[Exchange]) -> Reading:
    """Return how the mark shows in a model's likeliest next tokens on texts, in their order.

    A window is scored where it stands for the first time in all of them.
    """
    head = head_of(student)
    choices = [
        head.logits(hidden_RD).argmax(-1).tolist()
        for hidden_RD in response_hidden(student, exchanges)
    ]
    windows, tokens = first_choices(scheme.window, [ids for _, ids in exchanges], choices)
    columns = [np.array(column, dtype=np.uint32) for column in zip(*windows, strict=True)]
    scores = scheme.scores(scheme.inputs(columns, np.array(tokens, dtype=np.uint32)))
    upto = np.cumsum(scores)
    reached = [n for n in POSITIONS if n <= len(upto)]
    if len(upto) not in reached:
        reached.append(len(upto))
    return Reading(reached, [_short(scheme.law.log10_p(float(upto[n - 1]), n)) for n in reached])


def first_choices(
    window: int, texts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return windows where they occur for the first time, each with the choice behind it.

    `choices` are for each text's tokens what was chosen in their place. A window lies in one
    text, and one that ends a text has no choice behind it, but has occurred.
    """
    seen: set[tuple[int, ...]] = set()
    windows, tokens = [], []
    for ids, chosen in zip(texts, choices, strict=True):
        for at in range(window, len(ids) + 1):
            before = tuple(ids[at - window : at])
            if before not in seen and at < len(ids):
                windows.append(before)
                tokens.append(chosen[at])
            seen.add(before)
    return windows, tokens


def _text(
    student: LoadedModel, made: Made, scheme: OwnScheme, temperature: float, count: int
) -> Row:
    """Return how the mark shows in what a student writes to prompts that it did not learn."""
    pairs = made.language_of().exchanges(count, SEED)
    prompts = [prompt_ids(student.tokenizer, prompt) for prompt, _ in pairs]
    sampling = Sampling(temperature=temperature, max_tokens=MAX_TOKENS)
    (texts,) = write(student, [prompts], sampling, [None])
    curve = curve_of([scheme], [[text.ids for text in texts]], SIZES)
    return {"tokens": list(curve.tokens), "log10_p": [_short(x) for x in curve.log10_p[0]]}


def _short(number: float) -> float:
    return float(f"{number:.4g}")
