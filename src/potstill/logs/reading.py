"""Read logs of calls: every row once, repeats merged, what is left out counted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from potstill.canonical import canonical_json, digest_of, digest_of_bytes, parsed
from potstill.errors import PotstillError
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, LoggedCall, Reason, Record
from potstill.logs.files import files_in
from potstill.logs.forms import (
    Detected,
    ReadSettings,
    detect,
    first_rows,
    form_named,
    require_columns,
)
from potstill.logs.lines import other_sign
from potstill.logs.readers import Columns
from potstill.logs.tally import Tally
from potstill.logs.values import name
from potstill.recipe import CallsConfig
from potstill.text.tool_calls import message_text
from potstill.text.turns import Turns, prompt_id_of, tool_list


@dataclass(frozen=True)
class Log:
    """What the files of a log hold; nothing in it depends on the order of their rows.

    `calls` are distinct. `asks` holds what was shown and the file of every usable request, answered
    or not, by prompt id. `identities` maps `LoggedCall.teacher` to that name with the digest of its
    calls. `models` are the wanted models' names, those with the most rows first.
    """

    name: str
    detected: Detected
    calls: tuple[LoggedCall, ...]
    asks: dict[str, tuple[Turns, str]]
    identities: dict[str, str]
    models: tuple[str, ...]
    tally: Tally


def read_calls(config: CallsConfig) -> Log:
    """Return what the files of `collect.calls` hold, each text once.

    Raises PotstillError where a file cannot be read, the files are of several forms, a column is
    not there, or a batch lacks its input or its output.
    """
    files = files_in(config.paths)
    settings = settings_of(config)
    detected = _form(config, files.paths, settings)
    gathered = _Gathering(config)
    for found, place in form_named(detected.form).records(files.paths, settings):
        gathered.add(found, place)
    gathered.tally.passed_over = files.passed_over
    return Log(
        name=_log_name(files.paths),
        detected=detected,
        calls=tuple(gathered.calls[key] for key in sorted(gathered.calls)),
        asks=dict(sorted(gathered.asks.items())),
        identities=gathered.identities(),
        models=tuple(gathered.tally.models) if config.model is None else (config.model,),
        tally=gathered.tally,
    )


def form_of(config: CallsConfig) -> Detected:
    """Return the one form of all files, stated or told from their first rows."""
    return _form(config, files_in(config.paths).paths, settings_of(config))


def settings_of(config: CallsConfig) -> ReadSettings:
    """Return how a recipe wants rows to be read."""
    return ReadSettings(
        Columns(config.prompt_column, config.response_column, config.template),
        answers=config.use == "exchanges",
        whole_requests=config.whole_requests,
    )


def _form(config: CallsConfig, paths: Sequence[str], settings: ReadSettings) -> Detected:
    if config.form == "auto" and settings.columns.stated:
        found = Detected("table", "the recipe names its columns")
    elif config.form == "auto":
        found = _one_form(paths, settings)
    else:
        found = Detected(form_named(config.form).name, "the recipe states it")
    first = [row for path in paths for row in first_rows(path)]
    if found.form == "table":
        require_columns(first, settings)
    signs = ((Path(path).name, other_sign(path)) for path in paths)
    said = [f"{file} has {sign} between its columns, not commas" for file, sign in signs if sign]
    return replace(found, why="; ".join([found.why, *said]))


def _one_form(paths: Sequence[str], settings: ReadSettings) -> Detected:
    each = {path: detect(path, settings) for path in paths}
    if len({found.form for found in each.values()}) > 1:
        ways = ", ".join(f"{Path(path).name} is {found.form}" for path, found in each.items())
        raise PotstillError(
            f"the logs of calls are of different forms ({ways}); read each form in a run of its "
            "own, or state collect.calls.form"
        )
    return next(iter(each.values()))


class _Gathering:
    """Calls and requests by digest, as they are read."""

    def __init__(self, config: CallsConfig) -> None:
        self._config = config
        self._keys: defaultdict[str, set[bytes]] = defaultdict(set)
        self.calls: dict[bytes, LoggedCall] = {}
        self.asks: dict[str, tuple[Turns, str]] = {}
        self.tally = Tally()

    def add(self, found: Record | Reason, place: str) -> None:
        """Take in one row, or count why not."""
        self.tally.rows += 1
        if isinstance(found, Reason):
            self.tally.leave_out(found, place)
            return
        facts, wanted = found.facts, name(self._config.model)
        self.tally.saw(facts.model)
        if wanted is not None and wanted not in (facts.model, facts.returned_model):
            self.tally.leave_out(Reason.OTHER_MODEL, place)
            return
        self.tally.spent(facts.spend, found.row_id)
        if isinstance(found.ask, Reason):
            failed = Reason.ERROR in found.answers
            place = f"{place}: {found.detail}" if found.detail else place
            self.tally.leave_out(Reason.ERROR if failed else found.ask, place)
            return
        file = place.rpartition(", ")[0]
        asked = sum(len(message_text(m)) for m in found.ask.messages)
        room = self._config.max_characters - asked - len(found.ask.tools or "")
        if room >= 0:
            self._add_ask(found.ask, file)
        if self._config.use == "prompts":
            if room < 0:
                self.tally.leave_out(Reason.TOO_LONG, place)
            return
        for answer in found.answers:
            if isinstance(answer, Reason):
                self.tally.leave_out(answer, place)
            else:
                self._add_call(LoggedCall(found.ask, answer, facts, file), room, place)

    def identities(self) -> dict[str, str]:
        """Return who answered, each with the digest of what it answered."""
        return {
            teacher: f"{teacher}@{digest_of_bytes(b''.join(sorted(keys)), 8)}"
            for teacher, keys in sorted(self._keys.items())
        }

    def _add_ask(self, ask: Ask, file: str) -> None:
        key = prompt_id_of(ask.messages, ask.tools)
        known = self.asks.get(key)
        if known is None:
            self.asks[key] = (ask.turns, file)
        else:
            # Prompts that differ in the order of keys are one: whose stands must not be chance.
            turns = min(known[0], ask.turns, key=_written)
            self.asks[key] = (turns, min(known[1], file))
            if self._config.use == "prompts":
                self.tally.repeats += 1

    def _add_call(self, call: LoggedCall, room: int, place: str) -> None:
        key = _content_key(call.teacher, call.ask, call.answer)
        self._keys[call.teacher].add(key)
        said = (call.answer.response, call.answer.reasoning or "", call.answer.tool_calls or "")
        if sum(map(len, said)) > room:
            self.tally.leave_out(Reason.TOO_LONG, place)
            return
        known = self.calls.get(key)
        if known is not None:
            self.tally.repeats += 1
            call = min(known, call, key=_preference)
        self.calls[key] = call


def _content_key(teacher: str, ask: Ask, answer: LoggedAnswer) -> bytes:
    """Return 16 bytes that name what was asked of whom, and what came back."""
    asked = [teacher, list(ask.messages), tool_list(ask.tools), dict(ask.sampling)]
    calls = None if answer.tool_calls is None else parsed(answer.tool_calls)
    answered = [answer.response, answer.reasoning, calls]
    return bytes.fromhex(digest_of([asked, answered]))


def _written(turns: Turns) -> str:
    """Return what was shown in the order that it was written in."""
    return json.dumps([turns.messages, turns.tools])


def _preference(call: LoggedCall) -> tuple[Any, ...]:
    """Return the rank of a repeat: how it ended is known, earliest, then by content alone."""
    facts: CallFacts = call.facts
    return (
        call.answer.finish_reason is None,
        facts.created_at is None,
        facts.created_at or "",
        canonical_json([asdict(facts), call.answer.finish_reason, call.file]),
        _written(call.ask.turns),
        call.answer.tool_calls or "",
    )


def _log_name(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{min(Path(path).name for path in paths)}{more}"
