"""The exchange store: three append-only tables that survive a kill at any moment.

What `append` has returned for is in the journal, on the disk. `compact` copies the journal into
immutable shards and only then deletes it; until then, and after a kill in between, a row may be
in both, and the shard's counts. Nothing is written before something is appended, so that opening
the store of a finished run changes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

from potstill.durable import remove_leftovers
from potstill.errors import PotstillError
from potstill.exchanges.codecs import decode, encode
from potstill.exchanges.collector import collector_at_rest
from potstill.exchanges.columns import Shared
from potstill.exchanges.compaction import compact_journals, remove_orphans
from potstill.exchanges.exchange import Exchange, Split
from potstill.exchanges.heads import (
    has_head,
    head_files,
    head_is_intact,
    load_head,
    save_head,
)
from potstill.exchanges.index import Folders, Index, load_index, response_tokens
from potstill.exchanges.journal import Journal, journal_is_intact, journals, set_aside_journal
from potstill.exchanges.outline import Outline
from potstill.exchanges.rows import (
    Mark,
    MarkRow,
    TargetKey,
    TargetRow,
    exchange_to_row,
    response_digest,
)
from potstill.exchanges.scan import all_rows, exchange_parts, outline_parts
from potstill.exchanges.shards import damaged, is_intact, set_aside, shards
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import ExchangeTargets, TargetValues
from potstill.exchanges.usage import TargetUsage, store_stats, target_positions, target_usage
from potstill.models.head import Head

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _locked(
    method: Callable[Concatenate[ExchangeStore, _P], _R],
) -> Callable[Concatenate[ExchangeStore, _P], _R]:
    """Let one thread at a time into the store: training reads targets ahead in another one."""

    @wraps(method)
    def wrapper(self: ExchangeStore, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self._lock:
            return method(self, *args, **kwargs)

    return wrapper


class ExchangeStore:
    """The tables `exchanges/`, `targets/` and `marks/` under one run directory.

    One process may write at a time (the run directory's lock sees to it). Methods may be called
    from several threads. Reading raises `PotstillError` naming a damaged shard; `repair` sets
    such shards aside.
    """

    def __init__(self, root: Path | str) -> None:
        self._folders = Folders.under(Path(root))
        self._lock = RLock()
        self._journals: list[Journal] | None = None
        self._loaded: Index | None = None
        self._shared = Shared()
        self._verified: set[Path] = set()
        self._orphans_gone = False

    @_locked
    def append(
        self, exchanges: Sequence[Exchange], targets: Sequence[ExchangeTargets] = ()
    ) -> None:
        """Store a batch in one transaction, durable on return; all of it or none.

        A row whose id is stored already is skipped. `targets` may belong to exchanges of this
        batch or to stored ones. Raises `PotstillError` for a full disk (the store is then as
        before) and for a hidden state beyond fp16's range.
        """
        self._remove_orphans()
        index = self._index()
        fresh: dict[str, Exchange] = {}
        again: list[Exchange] = []
        for exchange in exchanges:
            if exchange.exchange_id in index.known:
                again.append(exchange)
            else:
                fresh.setdefault(exchange.exchange_id, exchange)
        # Batches round differently, so a repeated prompt may get another response: the stored one
        # stands, and targets of the other would be of another text.
        stored = index.answers([exchange.exchange_id for exchange in again])
        otherwise = {e.exchange_id for e in again if _answer(e) != stored[e.exchange_id]}
        rows = self._new_targets([t for t in targets if t.exchange_id not in otherwise], fresh)
        if not fresh and not rows:
            return
        journal = self._journal()
        journal.append([exchange_to_row(exchange) for exchange in fresh.values()], rows)
        # Only now: a failed append must leave no trace here either.
        index.add(fresh.values(), journal)
        index.targets_in_journals.update((row.key, journal) for row in rows)

    @_locked
    def append_targets(self, targets: Sequence[ExchangeTargets]) -> None:
        """Store targets of exchanges that are stored already (scored in a second pass)."""
        self.append([], targets)

    @_locked
    def ids(self, split: Split | None = None) -> set[str]:
        """Return the ids of the stored exchanges, of one split or of all."""
        known = self._index().known
        return {key for key, place in known.items() if split in (None, place.split)}

    @_locked
    def counts(self) -> dict[str, int]:
        """Return how many exchanges each split has, those without any left out."""
        return self._index().counts()

    @_locked
    def read(self, split: Split | None = None) -> list[Exchange]:
        """Return the exchanges, of one split or of all, sorted by exchange_id.

        Row groups that hold no row of the split are not decoded.
        """
        return all_rows(exchange_parts(self._index(), split, self._shared))

    def batches(self, split: Split | None = None) -> Iterator[list[Exchange]]:
        """Yield the exchanges of `read`, some at a time and in no order, for a single pass.

        So no more than some have to be in memory. Nothing is appended and nothing compacted
        before the last has come.
        """
        with self._lock:
            parts = exchange_parts(self._index(), split, self._shared)
        while True:
            with self._lock:
                part = next(parts, None)
            if part is None:
                return
            yield part

    @_locked
    def outlines(self, split: Split | None = None) -> list[Outline]:
        """Return what is known of the exchanges but their words, sorted by exchange_id."""
        return all_rows(outline_parts(self._index(), split, self._shared))

    @_locked
    def target_ids(self, scorer: str, spec: TargetSpec) -> set[str]:
        """Return the ids of the exchanges that have targets of this scorer in this form."""
        index = self._index()
        return {key for key in index.target_ids(scorer, spec.name) if key in index.known}

    @_locked
    def with_targets(self, scorer: str, spec: TargetSpec, ids: Iterable[str]) -> list[str]:
        """Return those of `ids` that have targets of this scorer in this form, in their order.

        It takes no longer where many others have them too.
        """
        index, name = self._index(), spec.name
        in_shards = index.target_shards.ids(scorer, name)
        in_journals = index.targets_in_journals
        return [
            key
            for key in ids
            if (key in in_shards or (key, scorer, name) in in_journals) and key in index.known
        ]

    @_locked
    def targets(self, scorer: str, spec: TargetSpec, ids: Sequence[str]) -> list[TargetValues]:
        """Return the values (on the CPU) of each id, in the order asked.

        Raises `PotstillError` where one is not stored.
        """
        index = self._index()
        keys: list[TargetKey] = [(exchange_id, scorer, spec.name) for exchange_id in ids]
        if missing := sum(not index.has(key) for key in keys):
            raise PotstillError(
                f"{missing} of {len(keys)} exchanges have no {spec.name} targets of {scorer}; run "
                "the same command again to score them"
            )
        found = index.target_shards.read([key for key in keys if key in index.target_shards])
        for key in keys:
            if key not in found:
                row = index.targets_in_journals[key].target(key)
                found[key] = decode(spec, row.rows, row.dim, row.data)
        return [found[key] for key in keys]

    @_locked
    def save_head(self, scorer: str, head: Head) -> None:
        """Store the head that turns this scorer's hidden states into logits, once."""
        save_head(self._folders.targets, scorer, head)

    @_locked
    def has_head(self, scorer: str) -> bool:
        """Tell whether a scorer's head is stored, and intact."""
        return has_head(self._folders.targets, scorer)

    @_locked
    def head(self, scorer: str) -> Head:
        """Return the stored head of a scorer; raises `PotstillError` where there is none."""
        return load_head(self._folders.targets, scorer)

    @_locked
    def mark(self, marks: Sequence[Mark]) -> None:
        """Record judgements on stored exchanges; a later one by the same marker replaces.

        Raises `KeyError` for an exchange that is not stored.
        """
        self._remove_orphans()
        index = self._index()
        latest: dict[tuple[str, str], Mark] = {}
        for mark in marks:
            if mark.exchange_id not in index.known:
                raise KeyError(f"no exchange {mark.exchange_id} is stored")
            latest[mark.exchange_id, mark.marker] = mark
        changed = [
            mark
            for key, mark in latest.items()
            if key not in index.marks or index.marks[key].mark != mark
        ]
        if not changed:
            return
        rows = [MarkRow(mark, index.next_sequence + i) for i, mark in enumerate(changed)]
        self._journal().append(marks=rows)
        index.next_sequence += len(rows)
        index.marks.update(((row.mark.exchange_id, row.mark.marker), row) for row in rows)

    @_locked
    def marks(self) -> list[Mark]:
        """Return the marks that stand, sorted by exchange_id and marker."""
        index = self._index()
        return [index.marks[key].mark for key in sorted(index.marks) if key[0] in index.known]

    @_locked
    def dropped(self) -> set[str]:
        """Return the ids of the exchanges that any mark drops."""
        index = self._index()
        found = {key for (key, _), row in index.marks.items() if not row.mark.kept}
        return found & index.known.keys()

    @_locked
    def compact(self) -> None:
        """Move the journal into shards; does nothing where there is no journal.

        A kill at any moment loses and doubles nothing: the journal goes last.
        """
        open_journals = self._open_journals()
        if not open_journals:
            return
        self._remove_orphans()
        try:
            compact_journals(self._folders, open_journals, self._index())
            while open_journals:
                open_journals[-1].remove()
                open_journals.pop()
        finally:
            # Also after a failure: shards may be there that the index has not seen.
            self._forget()

    @_locked
    def repair(self) -> list[str]:
        """Set damaged files aside and return their names, relative to the run directory.

        Rows that were in them are gone: their ids are no longer in `ids()` or `target_ids()`, so
        that they are collected again. Call it at the start of a run, with nobody else writing.
        """
        self.close()
        aside: list[str] = []
        for folder in self._folders.all():
            if not folder.is_dir():
                continue
            remove_leftovers(folder)
            broken = [path for path in shards(folder) if not is_intact(path)]
            self._verified.update(path for path in shards(folder) if path not in broken)
            broken += [path for path in head_files(folder) if not head_is_intact(path)]
            for path in broken:
                set_aside(path)
            broken_journals = [path for path in journals(folder) if not journal_is_intact(path)]
            for path in broken_journals:
                set_aside_journal(path)
            aside += [f"{folder.name}/{path.name}" for path in broken + broken_journals]
        self._orphans_gone = False
        return aside

    @_locked
    def stats(self) -> dict[str, Any]:
        """Return counts: exchanges (in all and by split), targets, marks, shards, bytes.

        `response_tokens` are those of responses whose tokens are stored, None where no response
        has any; `text_alone` responses have none, and how long they are is not known.
        """
        compacted = not self._open_journals()
        return store_stats(self._index(), self._folders, compacted=compacted)

    @_locked
    def usage(self) -> list[TargetUsage]:
        """Return what each form of targets takes, measured."""
        return target_usage(self._verified_shards(self._folders.targets), self._open_journals())

    @_locked
    def target_positions(self) -> dict[str, int]:
        """Return how many positions have targets in each form, without reading these."""
        return target_positions(self._verified_shards(self._folders.targets), self._open_journals())

    @_locked
    def close(self) -> None:
        """Close every file. Everything stays stored; the next call opens what it needs."""
        for journal in self._journals or []:
            journal.close()
        self._journals = None
        self._forget()

    def _index(self) -> Index:
        if self._loaded is None:
            with collector_at_rest():
                journals = self._open_journals()
                self._loaded = load_index(self._folders, journals, self._verified_shards)
        return self._loaded

    def _forget(self) -> None:
        if self._loaded is not None:
            self._loaded.target_shards.close()
        self._loaded = None

    def _open_journals(self) -> list[Journal]:
        if self._journals is None:
            self._journals = [Journal(path) for path in journals(self._folders.exchanges)]
        return self._journals

    def _journal(self) -> Journal:
        """Return the journal to append to, and create it where there is none."""
        found = self._open_journals()
        if not found:
            found.append(Journal.create(self._folders.exchanges))
        return found[-1]

    def _new_targets(
        self, targets: Iterable[ExchangeTargets], fresh: Mapping[str, Exchange]
    ) -> list[TargetRow]:
        """Return the rows of those targets that are not stored yet, checked.

        `fresh` are the exchanges that the same transaction stores.
        """
        index = self._index()
        rows: dict[TargetKey, TargetRow] = {}
        for target in targets:
            key = (target.exchange_id, target.scorer, target.spec.name)
            if key in rows or index.has(key):
                continue
            if target.exchange_id in fresh:
                tokens = response_tokens(fresh[target.exchange_id])
            elif target.exchange_id in index.known:
                tokens = index.tokens[target.exchange_id]
            else:
                raise KeyError(f"no exchange {target.exchange_id} is stored")
            if tokens is not None and len(target.values) != tokens:
                raise ValueError(f"targets of {len(target.values)} positions for {tokens} tokens")
            rows[key] = encode(target)
        return list(rows.values())

    def _remove_orphans(self) -> None:
        """Delete targets and marks whose exchange is gone, as after a damaged shard.

        An exchange that is collected again may get another response; what is left of the old
        one must not be taken for its targets.
        """
        if self._orphans_gone:
            return
        if remove_orphans(self._folders, self._open_journals(), self._index()):
            self._forget()
        self._orphans_gone = True

    def _verified_shards(self, folder: Path) -> list[Path]:
        """Return the shards in a folder; raises `PotstillError` naming a damaged one."""
        found = shards(folder)
        for path in found:
            if path not in self._verified and not is_intact(path):
                raise damaged(path)
            self._verified.add(path)
        return found


def _answer(exchange: Exchange) -> bytes:
    """Return what tells an exchange's response from another."""
    return response_digest(exchange.response_token_ids, exchange.response, exchange.tool_calls)
