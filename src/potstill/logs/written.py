"""What models wrote: in logs of calls, in tables with a column of texts, in plain files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from potstill.durable import no_file, os_reason
from potstill.errors import PotstillError
from potstill.logs.call import LoggedAnswer, Reason, Record
from potstill.logs.files import kind_of
from potstill.logs.forms import ReadSettings, columns_of, detect, first_rows, form_named
from potstill.logs.lines import log_rows
from potstill.logs.rows import SourceRow
from potstill.text.tool_calls import message_text

PLAIN = (".txt", ".md", ".text")
# Where a table holds what was written, without a question beside it; ids before text.
ID_COLUMNS = ("token_ids", "response_token_ids")
TEXT_COLUMNS = ("text", "response")


@dataclass(frozen=True)
class WrittenText:
    """One text that a model wrote: as token ids where they were stored, else as text."""

    place: str
    text: str = ""
    ids: tuple[int, ...] | None = None


@dataclass
class Writings:
    """Texts in the order of files and rows.

    `shown` is what others than the model wrote in the same calls, and `tokenizers` are the digests
    that stand beside stored ids. `left_out` counts rows without an answer, and why; `passed_over`
    are files of folders that are no texts, `unreadable` says in a sentence each which of their
    texts could not be read.
    """

    texts: list[WrittenText] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    tokenizers: set[str] = field(default_factory=set)
    left_out: Counter[Reason] = field(default_factory=Counter)
    passed_over: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def read_written(paths: Sequence[str]) -> Writings:
    """Return what models wrote in files and folders; of calls the answers, never the prompts.

    A text of a folder that cannot be read is left out, and said. Raises PotstillError where there
    is no such file, where one that is named cannot be read, and where rows hold neither calls nor
    texts.
    """
    found = Writings()
    logs: dict[str, list[str]] = {}
    for path, named in _files(paths, found):
        if kind_of(Path(path)) is None:
            _take_plain(Path(path), found, named=named)
        else:
            logs.setdefault(_form_of(path), []).append(path)
    for form, files in logs.items():
        if form in (*ID_COLUMNS, *TEXT_COLUMNS):
            for path in files:
                _take_column(path, form, found)
        else:
            # All files of a form at once: a batch is its input and its output.
            for record, place in form_named(form).records(files, ReadSettings()):
                _take(record, place, found)
    return found


def _files(paths: Sequence[str], found: Writings) -> Iterator[tuple[str, bool]]:
    """Yield each file, and whether it was named itself; those of a folder were not."""
    for path in paths:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            if (wrong := no_file(folder)) is not None:
                raise PotstillError(f"the text {path} {wrong}; check its path")
            yield str(folder), True
            continue
        inside = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] not in "._")
        texts = [p for p in inside if kind_of(p) is not None or p.suffix.lower() in PLAIN]
        if not texts:
            raise PotstillError(
                f"the folder {path} holds no texts; put logs of calls or files that end in "
                f"{', '.join(PLAIN)} there"
            )
        found.passed_over += [p.name for p in inside if p not in texts]
        yield from ((str(text), False) for text in texts)


def _take_plain(path: Path, found: Writings, *, named: bool) -> None:
    try:
        found.texts.append(WrittenText(path.name, _plain_text(path)))
    except PotstillError as error:
        if named:
            raise
        found.unreadable.append(str(error))


def _plain_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PotstillError(f"the text {path} is not UTF-8; write it again as UTF-8") from None
    except OSError as error:
        raise PotstillError(
            f"the text {path} cannot be read ({os_reason(error) or 'it does not open'}); "
            "check its permissions"
        ) from None


def _form_of(path: str) -> str:
    """Return the form of a file of rows: of ids, of calls, or the column that holds its texts."""
    rows = first_rows(path)
    for column in ID_COLUMNS:
        if any(_ids(row.values.get(column)) is not None for row in rows):
            return column
    try:
        return detect(path, ReadSettings()).form
    except PotstillError:
        # Its way out names fields of a recipe.
        for column in TEXT_COLUMNS:
            if any(isinstance(row.values.get(column), str) for row in rows):
                return column
    raise PotstillError(
        f"{Path(path).name} holds neither calls of a known form nor a column "
        f"{' or '.join((*TEXT_COLUMNS, *ID_COLUMNS))}; its columns are: {columns_of(rows)}"
    )


def _take_column(path: str, column: str, found: Writings) -> None:
    for row in log_rows(path):
        if not isinstance(row, SourceRow):
            found.left_out[row.reason] += 1
            continue
        ids = _ids(row.values.get(column)) if column in ID_COLUMNS else None
        text = next((v for c in TEXT_COLUMNS if isinstance(v := row.values.get(c), str)), "")
        if ids is None and not text:
            found.left_out[Reason.NO_RESPONSE] += 1
            continue
        if ids is not None and isinstance(digest := row.values.get("tokenizer"), str):
            found.tokenizers.add(digest)
        found.shown += _asked_in(row.values)
        found.texts.append(WrittenText(row.place, "" if ids is not None else text, ids))


def _asked_in(values: Mapping[str, Any]) -> list[str]:
    """Return what a row of ids or texts says that was asked: its messages, or its prompt."""
    told = values.get("messages")
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except ValueError:
            told = None
    messages = [m for m in told if isinstance(m, Mapping)] if isinstance(told, list) else []
    texts = [message_text(dict(m)) for m in messages if m.get("role") != "assistant"]
    prompt = values.get("prompt")
    return [text for text in (*texts, prompt if isinstance(prompt, str) else "") if text]


def _take(record: Record | Reason, place: str, found: Writings) -> None:
    if isinstance(record, Reason):
        found.left_out[record] += 1
        return
    if not isinstance(record.ask, Reason):
        found.shown += [
            text
            for message in record.ask.messages
            if message.get("role") != "assistant" and (text := message_text(message))
        ]
    for answer in record.answers:
        if isinstance(answer, LoggedAnswer):
            parts = [part for part in (answer.reasoning, answer.response) if part]
            found.texts += [WrittenText(place, part) for part in parts]
            found.left_out[Reason.NO_RESPONSE] += not parts
        else:
            found.left_out[answer] += 1
    found.left_out = +found.left_out


def _ids(value: Any) -> tuple[int, ...] | None:
    """Return a list of token ids as such; None for anything else."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**32 for i in value):
        return None
    return tuple(value)


def reasons(left_out: Mapping[Reason, int]) -> str:
    """Return in words what was left out, the most frequent first."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0].value))
    return ", ".join(f"{count:,} {reason.value}" for reason, count in ordered)
