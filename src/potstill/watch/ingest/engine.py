"""DuckDB through Ibis: a connection with a bound on its memory, and the functions that read chats.

What Ibis has no word for is a macro of the connection, named here as a function of expressions. All
of them give null for what they cannot read, and raise nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from potstill.errors import PotstillError

_TEXT_TYPES = "('text', 'input_text', 'output_text')"
_EMPTY = "('', '{}', '[]', 'null', '\"\"')"
# A macro is written out wherever its parameter stands (`nullif` and `array_to_string` are such
# themselves): what is not a column already is bound to a name by a lambda over a list of one.
_MACROS = (
    # JSON of a text, null where it is none; and only where it is an object.
    "ps_object(s) AS list_transform([TRY_CAST(s AS JSON)], lambda j: "
    "CASE WHEN json_type(j) = 'OBJECT' THEN j END)[1]",
    # Content as text: as it is, or its parts of text joined.
    f"""ps_text(c) AS CASE json_type(c) WHEN 'VARCHAR' THEN c->>'$' WHEN 'ARRAY' THEN
        list_aggregate(list_transform(list_filter(json_extract(c, '$[*]'), lambda p:
            json_type(p) = 'VARCHAR' OR coalesce(p->>'type', 'text') IN {_TEXT_TYPES}), lambda p:
            CASE WHEN json_type(p) = 'VARCHAR' THEN p->>'$'
            ELSE coalesce(p->>'text', p->>'content') END), 'string_agg', '') END""",
    "ps_at(j, path) AS list_transform([json_extract(j, path)], lambda c: ps_text(c))[1]",
    "ps_said(m) AS list_transform([coalesce(json_extract(m, '$.content'), "
    "json_extract(m, '$.parts'))], lambda c: ps_text(c))[1]",
    # Messages of a text: a list of them, an object around one, or what one user said.
    f"""ps_chat(s) AS CASE WHEN s IS NULL OR s IN {_EMPTY} THEN NULL ELSE
        list_transform([TRY_CAST(s AS JSON)], lambda j: CASE
            WHEN json_type(j) = 'ARRAY' AND len(json_extract(j, '$[*].role')) > 0 THEN j
            WHEN json_type(j, '$.messages') = 'ARRAY' THEN json_extract(j, '$.messages')
            ELSE json_array(json_object('role', 'user', 'content', s)) END)[1] END""",
    "ps_user(c) AS list_transform([list_filter(json_extract(c, '$[*]'), lambda m: "
    "(m->>'role') IN ('user', 'human'))[-1]], lambda m: ps_said(m))[1]",
    "ps_system(c) AS list_transform([list_filter(json_extract(c, '$[*]'), lambda m: "
    "(m->>'role') IN ('system', 'developer'))[1]], lambda m: ps_said(m))[1]",
    "ps_parts(s) AS CASE WHEN s IS NULL OR s IN ('', '[]', 'null') THEN NULL "
    "ELSE list_transform([TRY_CAST(s AS JSON)], lambda j: coalesce(ps_text(j), s))[1] END",
    # The answer in a response's body, in the messages of one, or as text.
    f"""ps_answer(s) AS CASE WHEN s IS NULL OR s IN {_EMPTY} THEN NULL ELSE
        list_transform([TRY_CAST(s AS JSON)], lambda j: CASE
            WHEN json_type(j, '$.choices') = 'ARRAY' THEN
                coalesce(ps_at(j, '$.choices[0].message.content'), j->>'$.choices[0].text')
            WHEN json_type(j, '$.output') = 'ARRAY' THEN
                list_aggregate(list_transform(list_filter(
                    json_extract(j, '$.output[*]'), lambda m: (m->>'type') = 'message'),
                    lambda m: ps_at(m, '$.content')), 'string_agg', '')
            WHEN json_type(j, '$.content') IS NOT NULL THEN ps_at(j, '$.content')
            WHEN json_type(j, '$.message') IS NOT NULL THEN ps_said(json_extract(j, '$.message'))
            WHEN json_type(j, '$.error') IS NOT NULL THEN NULL
            WHEN json_type(j) = 'ARRAY' AND len(json_extract(j, '$[*].role')) > 0
                THEN ps_said(json_extract(j, '$[#-1]'))
            ELSE s END)[1] END""",
    # A moment: ISO 8601 (without a zone in the connection's), or a number of seconds, milli-,
    # micro- or nanoseconds since 1970, told by its size.
    """ps_number(s) AS regexp_full_match(s, '[0-9]{1,20}(\\.[0-9]*)?([eE]\\+?[0-9]{1,2})?')""",
    # Whole numbers and decimals alone: a float has not room for microseconds beyond the point.
    """ps_since(d) AS make_timestamptz(CAST(CASE
        WHEN d < 1e11 THEN CAST(floor(d * 1000000::DECIMAL(7, 0)) AS HUGEINT)
        WHEN d < 1e14 THEN CAST(floor(d * 1000::DECIMAL(4, 0)) AS HUGEINT)
        WHEN d < 1e17 THEN CAST(floor(d) AS HUGEINT)
        ELSE CAST(floor(d) AS HUGEINT) // 1000 END AS BIGINT))""",
    """ps_moment(s) AS CASE WHEN ps_number(s) THEN ps_since(TRY_CAST(s AS DECIMAL(28, 9)))
        ELSE TRY_CAST(s AS TIMESTAMPTZ) END""",
    # A time outside is no request's: a number that was something else, or a clock never set.
    """ps_sane(m) AS CASE WHEN m >= TIMESTAMPTZ '2000-01-01 00:00:00+00'
        AND m < TIMESTAMPTZ '2100-01-01 00:00:00+00' THEN m END""",
    # Seconds between two moments, null where the second is before the first.
    """ps_seconds(a, b) AS CASE WHEN b >= a THEN (epoch_us(b) - epoch_us(a)) / 1e6 END""",
    """ps_no_zone(s) AS NOT ps_number(s)
        AND NOT regexp_matches(trim(s), '(?i)(z|utc|gmt|[+-][0-9]{2}(:?[0-9]{2})?)$')
        OR regexp_full_match(trim(s), '[0-9]{4}-[0-9]{2}-[0-9]{2}')""",
)
MEMORY_MB, THREADS = 768, 2
# What DuckDB says where what it spills does not fit.
_NO_ROOM = ("No space left on device", "max_temp_directory_size", "File too large", "Disk quota")


def connect(
    temporary: Path, *, zone: str = "UTC", memory_mb: int = MEMORY_MB, threads: int = THREADS
) -> Backend:
    """Return a connection that spills to a folder beyond `memory_mb`, with the macros made.

    `zone` is what times without one are taken in. Raises PotstillError for a zone nobody knows.
    """
    backend: Backend = ibis.duckdb.connect(
        memory_limit=f"{memory_mb}MB", threads=threads, temp_directory=str(temporary)
    )
    _known_zone(zone)
    backend.raw_sql(f"SET TimeZone='{zone}'")
    backend.raw_sql("SET arrow_large_buffer_size=false")
    for macro in _MACROS:
        backend.raw_sql(f"CREATE TEMP MACRO {macro}")
    return backend


@contextmanager
def engine_errors(temporary: Path) -> Iterator[None]:
    """Raise PotstillError where DuckDB has no room left, in `temporary` or in its memory."""
    try:
        yield
    except duckdb.Error as error:
        said = str(error)
        if any(one in said for one in _NO_ROOM):
            raise PotstillError(
                f"the folder for temporary files, {temporary.parent}, is full; free some space, or "
                "set TMPDIR to a folder with more, and run the same command again"
            ) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise PotstillError(
                "the engine needs more memory than it has at one time; take fewer days into a "
                "store, or find campaigns with --engine spark"
            ) from error
        raise


def batches_of(backend: Backend, table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield an expression's rows in batches of Arrow, as they are found.

    Ibis 12's own `to_pyarrow_batches` asks DuckDB 2 for what it has no more.
    """
    yield from backend.con.sql(backend.compile(table)).to_arrow_reader(rows)


def stage(backend: Backend, table: ir.Table, name: str) -> ir.Table:
    """Return an expression's rows under a name: what follows refers to its columns alone.

    Ibis writes an expression out wherever it is used; without such stages a form's query has
    a million characters. A stage replaces an earlier one of its name.
    """
    view = f"potstill_{name}"
    backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW {view} AS {backend.compile(table)}")
    return backend.table(view)


def _known_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (ValueError, KeyError, OSError):
        raise PotstillError(
            "--zone names no time zone that is known; take one like UTC or Europe/Berlin"
        ) from None


def _scalar(name: str, given: tuple[dt.DataType, ...], result: dt.DataType) -> Callable[..., Any]:
    """Return a macro, or a function of DuckDB's, as a function of one expression or two."""

    def of_one(value):  # type: ignore[no-untyped-def]
        ...

    def of_two(one, other):  # type: ignore[no-untyped-def]
        ...

    function = of_one if len(given) == 1 else of_two
    function.__name__ = name
    made: Callable[..., Any] = ibis.udf.scalar.builtin(
        function, name=name, signature=(given, result)
    )
    return made


as_object = _scalar("ps_object", (dt.string,), dt.JSON())
chat_of = _scalar("ps_chat", (dt.string,), dt.JSON())
user_text = _scalar("ps_user", (dt.JSON(),), dt.string)
system_text = _scalar("ps_system", (dt.JSON(),), dt.string)
parts_text = _scalar("ps_parts", (dt.string,), dt.string)
answer_text = _scalar("ps_answer", (dt.string,), dt.string)
_MOMENT = dt.Timestamp(timezone="UTC", scale=6)
moment_of = _scalar("ps_moment", (dt.string,), _MOMENT)
moment_since = _scalar("ps_since", (dt.Decimal(28, 9),), _MOMENT)
micros_of = _scalar("epoch_us", (_MOMENT,), dt.int64)
sane_moment = _scalar("ps_sane", (_MOMENT,), _MOMENT)
seconds_from = _scalar("ps_seconds", (_MOMENT, _MOMENT), dt.float64)
_texts_at = _scalar("json_extract_string", (dt.JSON(), dt.Array(dt.string)), dt.Array(dt.string))
lacks_zone = _scalar("ps_no_zone", (dt.string,), dt.boolean)


def texts_at(value: ir.Value, keys: tuple[str, ...]) -> ir.ArrayValue:
    """Return the members of an object, read once, each as text (JSON, where it is structured).

    A key that begins with `$.` is a path.
    """
    paths = [key if key.startswith("$.") else f'$."{key}"' for key in keys]
    return _texts_at(value, ibis.array(paths))


def json_text(value: ir.Value) -> ir.StringValue:
    """Return a structured value (a struct, a map, a list) as JSON text."""
    return _scalar("to_json", (value.type(),), dt.JSON())(value).cast("string")
