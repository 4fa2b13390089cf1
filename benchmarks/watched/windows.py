"""Windows of one account: what it asked on a day, or in a world's whole time, and what is true."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Length = Literal["day", "week"]
# An unbiased MMD needs two requests, and the other baselines are given the same windows.
LEAST = 2
PREFIX = 40
# An account is described by these figures of its window.
FEATURES = (
    "log_requests", "log_prompt", "log_prompt_spread", "log_answer", "log_answer_spread", "failed",
    "refused", "prompts_apart", "models", "clients", "hours", "streamed", "temperature",
    "age_days", "system_given",
)  # fmt: skip
# A day is a file of the world's.
_WINDOW = {"day": "regexp_extract(filename, 'day-[0-9]+')", "week": "'all'"}


def connected(threads: int = 2) -> duckdb.DuckDBPyConnection:
    """Return a connection whose clock is UTC."""
    found = duckdb.connect()
    found.sql(f"set timezone = 'UTC'; set threads = {threads}; set preserve_insertion_order = true")
    return found


def requests_of(world: Path) -> str:
    """Return SQL that reads a world's requests."""
    return f"read_parquet('{world}/requests/*.parquet', filename = true)"


def volumes(db: duckdb.DuckDBPyConnection, world: Path, length: Length) -> NDArray[np.int64]:
    """Return how many requests each window has, in the order of `features`."""
    found = db.sql(
        f"""
        select account_id, {_WINDOW[length]} as part, count(*) as n
        from {requests_of(world)} group by all having count(*) >= {LEAST}
        order by account_id, part
        """
    )
    return np.asarray(found.to_arrow_table()["n"], np.int64)


def prompts(db: duckdb.DuckDBPyConnection, day: Path) -> pa.Table:
    """Return who asked what on a day."""
    return db.sql(
        f"""
        select account_id, {_WINDOW["day"]} as part, coalesce(prompt, '') as prompt
        from read_parquet('{day}', filename = true)
        """
    ).to_arrow_table()


def features(db: duckdb.DuckDBPyConnection, world: Path, length: Length) -> pa.Table:
    """Return each window of LEAST requests or more with FEATURES, in order of its name."""
    return db.sql(
        f"""
        select account_id, {_WINDOW[length]} as part, count(*) as requests,
            ln(count(*)) as log_requests,
            coalesce(avg(ln(1 + prompt_tokens)), 0) as log_prompt,
            coalesce(stddev_pop(ln(1 + prompt_tokens)), 0) as log_prompt_spread,
            coalesce(avg(ln(1 + completion_tokens)), 0) as log_answer,
            coalesce(stddev_pop(ln(1 + completion_tokens)), 0) as log_answer_spread,
            avg((status >= 500)::int) as failed,
            avg((status in (401, 403, 429))::int) as refused,
            count(distinct prompt) / count(*) as prompts_apart,
            count(distinct model) as models,
            ln(1 + count(distinct client)) as clients,
            count(distinct hour(time)) as hours,
            avg(stream::int) as streamed,
            coalesce(avg(temperature), 0.7) as temperature,
            ln(1 + greatest(coalesce(min(epoch(time) - epoch(created_at)) / 86400, 365), 0))
                as age_days,
            avg((system is not null)::int) as system_given
        from {requests_of(world)} r left join (
            select account_id, created_at from read_parquet('{world}/accounts.parquet')
        ) a using (account_id)
        group by all having count(*) >= {LEAST} order by account_id, part
        """
    ).to_arrow_table()


def matrix(table: pa.Table) -> NDArray[np.float64]:
    """Return the windows' features, a row a window."""
    return np.column_stack([np.asarray(table[name], np.float64) for name in FEATURES])


def true_windows(db: duckdb.DuckDBPyConnection, world: Path, length: Length) -> pa.Table:
    """Return of each window its account's kind and campaign, and how many requests are its own.

    In the order of `features`.
    """
    return db.sql(
        f"""
        select w.account_id, w.part, a.kind, coalesce(a.campaign_id, '') as campaign, w.related
        from (
            select account_id, {_WINDOW[length]} as part, count(campaign_id) as related
            from read_parquet('{world}/truth/requests/*.parquet', filename = true)
            group by all having count(*) >= {LEAST}
        ) w join read_parquet('{world}/truth/accounts.parquet') a using (account_id)
        order by w.account_id, w.part
        """
    ).to_arrow_table()


def template_spread(
    db: duckdb.DuckDBPyConnection, world: Path, length: Length
) -> NDArray[np.int64]:
    """Return of each window how many accounts share its commonest template, by an exact hash.

    A template is a prompt's first PREFIX characters: of nine keys tried on one world (the whole
    prompt, without figures and names, its system message, fewer and more of its first and last
    words) the one that told most. What more than a tenth of all accounts use is everybody's and
    says nothing. It is an account's where two of its requests or more have it. In the order of
    `features`.
    """
    return np.asarray(
        db.sql(
            f"""
            with asked as (
                select account_id, {_WINDOW[length]} as part,
                    hash(left(prompt, {PREFIX})) as template
                from {requests_of(world)}
            ),
            used as (
                select account_id, part, template, count(*) as times from asked group by all
            ),
            owned as (
                select account_id, template from used group by all having sum(times) >= {LEAST}
            ),
            known as (
                select template, count(*) as accounts from owned group by template
                having count(*) <= 0.1 * (select count(distinct account_id) from used)
            )
            select used.account_id, used.part,
                coalesce(max(accounts) filter (where times >= {LEAST}), 0) as accounts
            from used left join known using (template)
            group by used.account_id, used.part having sum(times) >= {LEAST}
            order by used.account_id, used.part
            """
        ).to_arrow_table()["accounts"],
        np.int64,
    )
