"""Who is suspected in the zoo: what each learnt, and which claims about it would be true.

`claims` are the tiers of trace's findings that are expected of a suspect: `outputs` (it was
trained on the owner's served answers, or on text with the owner's mark), `weights` (its weights
come from the teacher's, or theirs from its), `descent` (from the teacher's training run). Whoever
has no `outputs` and is accused of it is falsely accused. `indirect` is a student of a student:
whether a mark is found in it is reported, and counts neither way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from world import SCHEMES, Said, World, said_of

from potstill.models.load import blocks_of, load, save

EPOCHS = 3
SHARES = (1.0, 0.2, 0.05, 0.01)
# Seeds of bases that are nobody's relatives.
GUILTY_BASES = (11, 12)
INNOCENT_BASES = (21, 22, 23, 24)
OTHER_TEACHERS = (31, 32, 33, 34)


@dataclass(frozen=True)
class Suspect:
    """One model of the zoo, made by `make`; `served` names the log that it may have learnt from.

    `headline`: marked at 100%, the teacher's tokenizer, last epoch, no later tuning, paraphrase
    or mixture.
    """

    name: str
    kind: str
    make: Callable[[World], Path] = field(repr=False)
    claims: frozenset[str] = frozenset()
    served: str = "green"
    share: float = 0.0
    epoch: int = EPOCHS
    headline: bool = False
    indirect: bool = False

    @property
    def innocent(self) -> bool:
        """Whether no claim about the teacher's outputs is true of it."""
        return "outputs" not in self.claims and not self.indirect


def everybody() -> list[Suspect]:
    """Return all suspects, the innocents first."""
    return [*innocents(), *relatives(), *guilty(), *altered()]


def innocents() -> list[Suspect]:
    """Return those that have nothing of the teacher: 44 at the last epoch of each training."""
    found = []
    for base in INNOCENT_BASES:
        found.append(_plain(f"base-{base}", "base", lambda w, b=base: w.base(b).directory))
        for other in OTHER_TEACHERS:
            found.append(
                _plain(
                    f"other-{other}-{base}",
                    "same prompts, another teacher",
                    lambda w, b=base, o=other: _learnt(w, f"other-{o}-{b}", b, _answers_of(w, o))[
                        -1
                    ],
                )
            )
        for text in range(4):
            found.append(
                _plain(
                    f"corpus-{text}-{base}",
                    "text of a corpus",
                    lambda w, b=base, t=text: _learnt(w, f"corpus-{t}-{b}", b, w.corpus(40 + t))[
                        -1
                    ],
                )
            )
        found.append(
            _plain(
                f"prompts-{base}",
                "the owner's prompts, answered by the corpus",
                lambda w, b=base: _learnt(w, f"prompts-{b}", b, w.corpus(0))[-1],
            )
        )
        found.append(
            _plain(
                f"own-{base}",
                "its own answers",
                lambda w, b=base: _learnt(
                    w, f"own-{b}", b, said_of(w.answers(f"base-{b}", w.base(b).directory))
                )[-1],
            )
        )
    return found


def relatives() -> list[Suspect]:
    """Return those that share weights with the teacher, and learnt nothing that it served."""
    parts: list[Suspect] = [
        Suspect(
            "teacher's base",
            "base of the teacher",
            lambda w: w.base(0).directory,
            frozenset({"weights"}),
        )
    ]
    for number in range(4):
        parts.append(
            Suspect(
                f"sibling-{number}",
                "sibling: the teacher's base, trained on other text",
                lambda w, n=number: w.trained(
                    f"sibling-{n}", w.base(0).directory, w.corpus(60 + n)
                )[-1],
                frozenset({"weights"}),
            )
        )
    for number in range(2):
        parts.append(
            Suspect(
                f"tuned-{number}",
                "fine-tuned copy of the teacher",
                lambda w, n=number: w.trained(
                    f"tuned-{n}", w.teacher, w.corpus(70 + n, w.served // 4), rate=1e-3
                )[-1],
                frozenset({"weights", "descent"}),
            )
        )
    parts.append(
        Suspect(
            "pruned",
            "pruned copy of the teacher",
            lambda w: pruned(w, "pruned"),
            frozenset({"weights", "descent"}),
        )
    )
    return parts


def guilty() -> list[Suspect]:
    """Return students of the teacher's answers, every epoch of each: none is selected."""
    found = []
    for base in GUILTY_BASES:
        found += _epochs(f"unmarked-{base}", "unmarked answers", base, "plain", 0.0)
        for scheme in SCHEMES:
            for share in SHARES:
                name = f"{scheme}-{share:g}-{base}"
                found += _epochs(name, f"{scheme}, {share:.0%} marked", base, scheme, share)
    return found


def altered() -> list[Suspect]:
    """Return students whose way from the marked text to the model is longer."""
    base = GUILTY_BASES[0]
    outputs = frozenset({"outputs"})
    found = []
    for scheme in SCHEMES:
        marked = f"{scheme}-1-{base}"
        found += [
            Suspect(
                f"tuned after {scheme}",
                "fine-tuned on clean text afterwards",
                lambda w, s=scheme, m=marked: w.trained(
                    f"after-{s}", _student(w, m, base, s, 1.0)[-1], w.corpus(80)
                )[-1],
                outputs,
                scheme,
                1.0,
            ),
            Suspect(
                f"paraphrased {scheme}",
                "half of the words replaced by others of their class",
                lambda w, s=scheme: _learnt(
                    w, f"paraphrased-{s}", base, paraphrased(w, _marked(w, s, 1.0)), EPOCHS
                )[-1],
                outputs,
                scheme,
                1.0,
            ),
            Suspect(
                f"mixed {scheme}",
                "half of it another teacher's",
                lambda w, s=scheme: _learnt(
                    w,
                    f"mixed-{s}",
                    base,
                    _alternating(_marked(w, s, 1.0), _answers_of(w, 31)),
                    EPOCHS,
                )[-1],
                outputs,
                scheme,
                0.5,
            ),
            Suspect(
                f"retokenised {scheme}",
                "another tokenizer",
                lambda w, s=scheme: w.trained(
                    f"retokenised-{s}",
                    w.base(51, language=1).directory,
                    _marked(w, s, 1.0),
                    epochs=EPOCHS,
                )[-1],
                outputs,
                scheme,
                1.0,
            ),
            Suspect(
                f"grandchild of {scheme}",
                "student of a student",
                lambda w, s=scheme, m=marked: _learnt(
                    w,
                    f"grandchild-{s}",
                    GUILTY_BASES[1],
                    said_of(w.answers(f"student-{s}", _student(w, m, base, s, 1.0)[-1])),
                    EPOCHS,
                )[-1],
                frozenset(),
                scheme,
                1.0,
                indirect=True,
            ),
        ]
    return found


def _plain(name: str, kind: str, make: Callable[[World], Path]) -> Suspect:
    return Suspect(name, kind, make)


def _epochs(name: str, kind: str, base: int, served: str, share: float) -> list[Suspect]:
    """Return a student after each of its epochs."""
    return [
        Suspect(
            f"{name}, epoch {epoch}",
            kind,
            lambda w, e=epoch: _student(w, name, base, served, share)[e - 1],
            frozenset({"outputs"}),
            served,
            share,
            epoch,
            headline=share == 1.0 and epoch == EPOCHS,
        )
        for epoch in range(1, EPOCHS + 1)
    ]


def _student(world: World, name: str, base: int, served: str, share: float) -> list[Path]:
    return _learnt(world, name, base, _marked(world, served, share), EPOCHS)


def _learnt(
    world: World, name: str, base: int, texts: Sequence[Said], epochs: int = 1
) -> list[Path]:
    return world.trained(name, world.base(base).directory, texts, epochs=epochs)


def _answers_of(world: World, seed: int) -> list[Said]:
    """Return another teacher's answers to the owner's prompts."""
    return said_of(world.answers(f"other-{seed}", world.base(seed).directory))


def _marked(world: World, served: str, share: float) -> list[Said]:
    """Return the teacher's answers, of which an evenly spread `share` is marked."""
    plain = world.answers("teacher", world.teacher)
    if served == "plain":
        return said_of(plain)
    marked = world.answers("teacher", world.teacher, served)[:: round(1 / share)]
    asked = {row.messages[-1]["content"] for row in marked}
    return said_of([*marked, *(r for r in plain if r.messages[-1]["content"] not in asked)])


def _alternating(one: Sequence[Said], other: Sequence[Said]) -> list[Said]:
    return [*one[::2], *other[1::2]]


def paraphrased(world: World, texts: Sequence[Said], share: float = 0.5) -> list[Said]:
    """Return texts in which a share of the words stands for another of the same class.

    The language has no synonyms; words of one class stand in the same places.
    """
    language, draw = world.speech, random.Random(1)
    classes: dict[int, list[str]] = {}
    for word, number in zip(language.words, language.class_W.tolist(), strict=True):
        classes.setdefault(number, []).append(word)
    of = {w: words for words in classes.values() for w in words}

    def other(word: str) -> str:
        bare, stop = word.rstrip("."), "." * (len(word) - len(word.rstrip(".")))
        if bare not in of or draw.random() >= share:
            return word
        return draw.choice(of[bare]) + stop

    return [
        Said(said.prompt, " ".join(other(word) for word in said.text.split(" ")), said.whole)
        for said in texts
    ]


def pruned(world: World, name: str) -> Path:
    """Return the teacher without its last block, otherwise as it is."""
    folder = world.folder / "models" / name / "epoch-1"
    if not (folder / "config.json").is_file():
        model = load(str(world.teacher), device="cpu", precision="fp32", trainable=True)
        blocks = blocks_of(model.network)
        del blocks[len(blocks) - 1]
        config = model.network.config
        config.num_hidden_layers = len(blocks)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: len(blocks)]
        save(model, folder)
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    return folder
