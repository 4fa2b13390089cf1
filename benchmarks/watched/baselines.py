"""The four baselines over the account windows of a world, each with the seconds that it took.

None is shown what is true: volume, templates and the forest's figures are of the world itself, the
forest and the MMD's embedding and reference are fitted on a *history*, a world without campaigns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from watched import windows
from watched.kernels import Embedding, Floats, Reference
from watched.windows import Length

BASELINES = ("volume", "forest", "templates", "mmd")
LENGTHS: tuple[Length, ...] = ("day", "week")
_FITTED_ON, _SEED = 20_000, 7


@dataclass(frozen=True)
class History:
    """What was fitted on traffic without campaigns."""

    embedding: Embedding
    reference: Reference
    vectors_ND: Floats
    forests: dict[Length, IsolationForest]


@dataclass
class Clock:
    """Seconds of each baseline."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BASELINES, 0.0))

    @contextmanager
    def of(self, baseline: str) -> Iterator[None]:
        """Add the seconds of a block to a baseline's."""
        begun = time.perf_counter()
        yield
        self.seconds[baseline] += time.perf_counter() - begun


def history_of(
    world: Path, lengths: Sequence[Length] = LENGTHS, clock: Clock | None = None
) -> History:
    """Fit on a world without campaigns; on any world where only time matters."""
    db, clock = windows.connected(), clock or Clock()
    with clock.of("forest"):
        forests = {
            length: IsolationForest(n_estimators=200, random_state=_SEED).fit(
                windows.matrix(windows.features(db, world, length))
            )
            for length in lengths
        }
    with clock.of("mmd"):
        sample = db.sql(
            f"""
            select prompt from {windows.requests_of(world)} where prompt is not null
            order by hash(request_id) limit {_FITTED_ON}
            """
        )
        texts = sample.to_arrow_table()["prompt"].to_pylist()
        embedding = Embedding.fitted(texts)
        vectors = embedding.of(texts)
        reference = Reference.of(vectors)
    return History(embedding, reference, vectors, forests)


def scored(
    world: Path, history: History, lengths: Sequence[Length] = LENGTHS, clock: Clock | None = None
) -> dict[Length, pa.Table]:
    """Return the windows of each length: who, when, how many requests, and a score a baseline."""
    db, clock = windows.connected(), clock or Clock()
    found: dict[Length, pa.Table] = {}
    for length in lengths:
        with clock.of("volume"):
            volume = windows.volumes(db, world, length)
        with clock.of("forest"):
            table = windows.features(db, world, length)
            odd = -history.forests[length].score_samples(windows.matrix(table))
        with clock.of("templates"):
            spread = windows.template_spread(db, world, length)
        table = table.select(["account_id", "part", "requests"])
        table = table.append_column("volume", pa.array(volume))
        table = table.append_column("forest", pa.array(odd))
        found[length] = table.append_column("templates", pa.array(spread))
    with clock.of("mmd"):
        distances = _distances(db, world, history, found)
    return {
        length: table.append_column("mmd", pa.array(distances[length]))
        for length, table in found.items()
    }


def _distances(
    db: duckdb.DuckDBPyConnection, world: Path, history: History, tables: dict[Length, pa.Table]
) -> dict[Length, NDArray[np.float64]]:
    """Return each window's MMD squared. Windows of a day need one day's vectors alone."""
    found = {length: np.full(len(table), np.nan) for length, table in tables.items()}
    vectors, places = list[Floats](), list[NDArray[np.int64]]()
    for day in sorted((world / "requests").glob("*.parquet")):
        asked = windows.prompts(db, day)
        embedded = history.embedding.of(asked["prompt"].to_pylist())
        if "day" in tables:
            place = _places(asked, tables["day"], ["account_id", "part"])
            _put(found["day"], history.reference, embedded, place)
        if "week" in tables:
            vectors.append(embedded)
            places.append(_places(asked, tables["week"], ["account_id"]))
    if "week" in tables:
        _put(found["week"], history.reference, np.concatenate(vectors), np.concatenate(places))
    return found


def _put(
    into: NDArray[np.float64], reference: Reference, vectors: Floats, place: NDArray[np.int64]
) -> None:
    """Score the windows that these requests are of; a place of -1 is of no window."""
    kept = place >= 0
    windows_there, number = np.unique(place[kept], return_inverse=True)
    into[windows_there] = reference.scores(vectors[kept], number)


def _places(asked: pa.Table, table: pa.Table, names: Sequence[str]) -> NDArray[np.int64]:
    """Return which window each request is of; -1 for none."""

    def key(of: pa.Table) -> pa.ChunkedArray:
        columns = [of[name].cast(pa.string()) for name in names]
        return pc.binary_join_element_wise(*columns, "/") if len(columns) > 1 else columns[0]

    found = pc.index_in(key(asked), key(table).combine_chunks())
    return np.asarray(found.fill_null(-1).cast(pa.int64()), np.int64)


def with_truth(world: Path, length: Length, table: pa.Table) -> pa.Table:
    """Return windows with kind, campaign and how many requests are the campaign's own.

    Raises ValueError where the truth has other windows.
    """
    true = windows.true_windows(windows.connected(), world, length)
    if any(not true[name].equals(table[name]) for name in ("account_id", "part")):
        raise ValueError(f"{world}: requests and truth differ")
    for name in ("kind", "campaign", "related"):
        table = table.append_column(name, true[name])
    return table
