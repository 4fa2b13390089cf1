"""Look for a key's marks in what models wrote: files in, p-values out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from potstill.errors import PotstillError
from potstill.logs.call import Reason
from potstill.logs.written import Writings, WrittenText, read_written, reasons
from potstill.runs.mark_options import (
    StatedOptions,
    agreed,
    check_scheme,
    refuse_stray,
    scheme_names,
)
from potstill.stats.exact import holm
from potstill.watermark.decoys import DECOYS
from potstill.watermark.detect import Detection, Looking, detect
from potstill.watermark.keys import read_key, refuse_no_key
from potstill.watermark.record import MarkRecord, read_record, refuse_other_key
from potstill.watermark.schemes import GreenList, Gumbel, Scheme
from potstill.watermark.token_texts import TokenTexts
from potstill.watermark.vllm import (
    NAMES,
    UNRELEASED,
    read_config,
    scheme_of_file,
    schemes_of,
)

Number = TypeVar("Number", int, float)
# Texts that are cut into ids at once.
_TEXTS = 1000

Encode = Callable[[list[str]], list[list[int]]]


@dataclass(frozen=True)
class MarkQuery:
    """Which marks are looked for, and where.

    What is None is taken from the record beside the key's file.
    """

    paths: tuple[str, ...]
    key: Path
    scheme: str | None = None
    epoch: str | None = None
    window: int | None = None
    gamma: float | None = None
    delta: float | None = None
    tokenizer: str | None = None
    looking: Looking = field(default_factory=Looking)


@dataclass(frozen=True)
class TextFound:
    """One text alone: `p` is over all tests, `adjusted_p` Holm's over all texts."""

    place: str
    scored: int
    p: float
    adjusted_p: float


@dataclass(frozen=True)
class MarksFound:
    """What a key's marks come to; `p` is the least of the tests' times their number, at most 1."""

    scheme: str
    tests: tuple[Detection, ...]
    p: float
    log10_p: float
    left_out: Mapping[Reason, int]
    passed_over: tuple[str, ...]
    warnings: tuple[str, ...]
    each: tuple[TextFound, ...] | None = None


@dataclass(frozen=True)
class MarkTokenizer:
    """How text is cut into ids, the digest of what cuts it, and how many ids there are.

    `spell` gives the text of each id alone, in their order.
    """

    encode: Encode
    digest: str
    vocabulary: int
    spell: Callable[[], list[str]]


@dataclass(frozen=True)
class _Asked:
    """The schemes that are tested, and what was said on the way."""

    name: str
    schemes: tuple[Scheme, ...]
    record: MarkRecord
    warnings: tuple[str, ...]


def find_marks(query: MarkQuery) -> MarksFound:
    """Return how sure a key's marks are in texts.

    Raises PotstillError for what cannot be tested.
    """
    asked = _asked(query)
    written = read_written(query.paths)
    if not written.texts:
        raise PotstillError(_no_texts(written))
    texts, shown = _as_ids(written, query, asked.record)
    tests = tuple(
        detect(scheme, texts, shown=shown, looking=query.looking) for scheme in asked.schemes
    )
    count = len(tests)
    return MarksFound(
        scheme=asked.name,
        tests=tests,
        p=min(1.0, count * min(test.p for test in tests)),
        log10_p=min(0.0, math.log10(count) + min(test.log10_p for test in tests)),
        left_out=dict(written.left_out),
        passed_over=tuple(written.passed_over),
        warnings=(*asked.warnings, *written.unreadable, *_of_prompts(written, query, tests)),
        each=_each(tests, written.texts) if query.looking.each else None,
    )


def _of_prompts(written: Writings, query: MarkQuery, tests: Sequence[Detection]) -> tuple[str, ...]:
    """Return what has to be said of prompts: that they could not be left out, or took most away."""
    if written.shown and query.tokenizer is None:
        return (
            "the rows have prompts, whose text no tokenizer cuts into ids here, so that what "
            "answers repeat of them is scored as well; give --tokenizer",
        )
    if any(2 * test.left_out > test.windows for test in tests):
        return (
            "more than half of the tokens stand behind a window that some prompt has, and are left "
            "out: much of a mark may be lost with them; a mark with a longer window loses less",
        )
    return ()


def looking_for(*, p: float, each: bool, decoys: int) -> Looking:
    """Return how to look. Raises PotstillError for what cannot be looked for."""
    if not 0 < p < 1:
        raise PotstillError("--p lies between 0 and 1; choose for example 1e-6")
    if decoys and decoys < DECOYS:
        raise PotstillError(f"--decoys takes {DECOYS:,} keys at the least; choose more, or none")
    return Looking(p_wanted=p, each=each, decoys=decoys)


def tokens_of(ref: str) -> MarkTokenizer:
    """Return the tokenizer of a model, or of a folder that holds a tokenizer.json alone."""
    from potstill.models.identity import tokenizer_id_of

    folder = Path(ref).expanduser()
    if (folder / "tokenizer.json").is_file() and not (folder / "config.json").is_file():
        from tokenizers import Tokenizer

        try:
            bare = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises no type of its own
            raise PotstillError(
                f"the tokenizer of {ref} cannot be loaded; check its tokenizer.json"
            ) from error

        def encode(texts: list[str]) -> list[list[int]]:
            return [row.ids for row in bare.encode_batch(texts, add_special_tokens=False)]

        def spell() -> list[str]:
            alone = [[i] for i in range(bare.get_vocab_size())]
            return list(bare.decode_batch(alone, skip_special_tokens=False))

        return MarkTokenizer(encode, tokenizer_id_of(folder), bare.get_vocab_size(), spell)

    from potstill.models.load import load_tokenizer, locate

    directory = locate(ref)
    whole: Any = load_tokenizer(directory)

    def encode_whole(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = whole(texts, add_special_tokens=False)["input_ids"]
        return found

    def spell_whole() -> list[str]:
        return list(whole.batch_decode([[i] for i in range(len(whole))]))

    return MarkTokenizer(encode_whole, tokenizer_id_of(directory), len(whole), spell_whole)


def _asked(query: MarkQuery) -> _Asked:
    """Return what is tested. Raises PotstillError where a scheme or its parameters are open."""
    record = read_record(query.key) or MarkRecord()
    name = query.scheme or record.scheme or scheme_of_file(query.key)
    if name is None:
        refuse_no_key(query.key)
        raise PotstillError(
            f"it is not known what {query.key} marks with; state --scheme: {scheme_names()}"
        )
    check_scheme(name)
    agreed(query.scheme, record.scheme, "scheme")
    options = StatedOptions(query.epoch, query.window, query.gamma, query.delta)
    refuse_stray(name, options)
    if name in NAMES:
        found = read_config(query.key, name)
        said = (found.warning, UNRELEASED if name == "vllm-sbw" else None)
        schemes = schemes_of(found.config)
        return _Asked(name, schemes, record, tuple(word for word in said if word))
    file = read_key(query.key)
    key = file.epoch(query.epoch)
    refuse_other_key(record, query.key, file.key.key_id)
    window = _needed(name, "window", agreed(query.window, record.window, "window"))
    scheme: Scheme = Gumbel(key, window)
    if name == "green":
        gamma = _needed(name, "gamma", agreed(query.gamma, record.gamma, "gamma"))
        delta = _needed(name, "delta", agreed(query.delta, record.delta, "delta"))
        scheme = GreenList(key, window, gamma, delta)
    return _Asked(name, (scheme,), record, (file.warning,) if file.warning else ())


def _needed(scheme: str, parameter: str, value: Number | None) -> Number:
    if value is None:
        raise PotstillError(
            f"the scheme {scheme} needs its {parameter}; state the one that marked the text with "
            f"--{parameter}, or keep the record beside the key that potstill watermark keygen wrote"
        )
    return value


def _as_ids(
    written: Writings, query: MarkQuery, record: MarkRecord
) -> tuple[TokenTexts, TokenTexts | None]:
    """Return the texts and what was shown as ids of the tokenizer that the marks are in."""
    by_text = [text for text in written.texts if text.ids is None]
    if query.tokenizer is None:
        if by_text:
            raise PotstillError(
                "marks stand in token ids, and these are texts; name the marked model's tokenizer "
                "with --tokenizer"
            )
        _check_tokenizers(written.tokenizers, record.tokenizer)
        texts, shown = TokenTexts.of(text.ids or () for text in written.texts), None
    else:
        tokens = tokens_of(query.tokenizer)
        _check_tokenizers({tokens.digest, *written.tokenizers}, record.tokenizer)
        texts = encoded_texts(written, tokens)
        shown = TokenTexts.of(_encoded(tokens.encode, written.shown)) if written.shown else None
        texts.refuse_strangers(tokens.vocabulary)
    if record.vocabulary is not None:
        texts.refuse_strangers(record.vocabulary)
    return texts, shown


def encoded_texts(written: Writings, tokens: MarkTokenizer) -> TokenTexts:
    """Return texts as ids: the stored ones, else what the tokenizer makes of the text."""
    encoded = iter(
        _encoded(tokens.encode, [text.text for text in written.texts if text.ids is None])
    )
    return TokenTexts.of(next(encoded) if text.ids is None else text.ids for text in written.texts)


def _check_tokenizers(digests: set[str], recorded: str | None) -> None:
    wrong = sorted(digests - {recorded}) if recorded is not None else []
    if wrong:
        raise PotstillError(
            f"these texts are in the tokens of {wrong[0]}, and the record beside the key says that "
            f"{recorded} was marked; give the marked model's tokenizer"
        )
    if len(digests) > 1:
        raise PotstillError(
            f"the stored token ids are of several tokenizers ({', '.join(sorted(digests))}); give "
            "the texts of one at a time"
        )


def _encoded(encode: Encode, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = []
    for start in range(0, len(texts), _TEXTS):
        ids += encode(list(texts[start : start + _TEXTS]))
    return ids


def _each(tests: Sequence[Detection], texts: Sequence[WrittenText]) -> tuple[TextFound, ...]:
    rows = zip(*(test.each or () for test in tests), strict=True)
    found = [(row[0].scored, min(1.0, len(row) * min(one.p for one in row))) for row in rows]
    adjusted = holm([p for _, p in found])
    return tuple(
        TextFound(text.place, scored, p, after)
        for text, (scored, p), after in zip(texts, found, adjusted, strict=True)
    )


def _no_texts(written: Writings) -> str:
    if written.unreadable:
        return written.unreadable[0]
    if written.left_out:
        return (
            f"the log holds no answer to look for marks in ({reasons(written.left_out)}); give one "
            "that stores what was answered"
        )
    return "there is no text to look for marks in; give texts that have some"
