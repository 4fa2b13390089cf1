"""The queries that facts are made by, and that are printed beside them.

All of them run in plain DuckDB over a store's Parquet files, after `prepare` of the case: nothing
of potstill is needed. What signals compute by Ibis, these say again by hand, so that each
checks the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from glob import escape
from pathlib import Path

from potstill.watch.linking import RARE
from potstill.watch.schema import ACCOUNT, ACCOUNTS, TENANT
from potstill.watch.signals.intent import REASONING, RUBRIC
from potstill.watch.signals.links import TOGETHER
from potstill.watch.signals.timing import HANDED_S, REFUSED
from potstill.watch.strata import STRATUM

MEMBERS_FILE, GROUPS_FILE, ALLOWED_FILE = "members.parquet", "groups.parquet", "allowed.parquet"
TEMPLATES_FILE, KEYS_FILE = "templates.parquet", "keys.parquet"
# What parties have in common by a template that chose a group, beside kinds of links.
TEMPLATE = "template"
MOST_TEMPLATES = 5
KINDS = ("payment", "device", "subnet", "email_domain")
PATTERNS = {"reasoning": REASONING, "rubric": RUBRIC}
ASKING = {"reasoning elicitation": "reasoning", "rubric and reward prompts": "rubric"}
_BULKY = ("messages", "response", "tools", "system")
REFUSED_LIST = ", ".join(map(str, REFUSED))
# What a client's keys begin with, as `template_keys` has it.
SETTINGS = (
    "concat_ws('|', coalesce(system_hash::VARCHAR, ''), coalesce(model, ''),"
    " coalesce(product, ''),\n    coalesce(CASE WHEN temperature BETWEEN 0 AND 1000"
    " THEN round(temperature * 1000)::BIGINT::VARCHAR END, ''),\n"
    "    coalesce(max_tokens::VARCHAR, ''), coalesce(stream::INTEGER::VARCHAR, ''))"
)
# What a key has of settings.
KEY_SETTINGS = "split_part(key[3:], chr(10), 1)"
_TYPES = {"text": "VARCHAR", "time": "TIMESTAMPTZ", "int32": "INTEGER"}


@dataclass(frozen=True)
class StoreFiles:
    """Where a store and a run's cases lie, and what the store has."""

    store: Path
    cases: Path
    accounts: bool
    sketches: bool
    text: bool
    allowed: bool
    templates: bool = False


def quoted(text: str) -> str:
    """Return text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def prepare_store(files: StoreFiles) -> list[str]:
    """Return the statements that make the tables of a whole store."""
    left_out = (
        f"\nWHERE r.account_id NOT IN (SELECT account_id FROM read_parquet("
        f"getvariable('cases') || '/{ALLOWED_FILE}'))"
        if files.allowed
        else ""
    )
    bulky = f" EXCLUDE ({', '.join(_BULKY)})" if files.text else ""
    # DuckDB takes every path that it reads for a pattern.
    return [
        "SET TimeZone = 'UTC'",
        f"SET VARIABLE store = {quoted(escape(str(files.store)))}",
        f"SET VARIABLE cases = {quoted(escape(str(files.cases)))}",
        _accounts(files.accounts),
        # A party is a declared tenant with its accounts, or an account that has none.
        "CREATE OR REPLACE TEMP VIEW requests AS\n"
        f"SELECT r.*{bulky}, coalesce(a.party, '{ACCOUNT}' || r.account_id) AS party, a.timezone,\n"
        "  epoch_us(r.time) AS micros, epoch_us(r.time) // 86400000000 AS day,\n"
        "  epoch_us(r.time) // 1000000 % 86400 AS second\n"
        "FROM read_parquet(getvariable('store') || '/requests/*/*.parquet', "
        "hive_partitioning = false) r\n"
        f"LEFT JOIN accounts a USING (account_id){left_out}",
        # A stratum of few parties goes with its zone's other small ones.
        "CREATE OR REPLACE TEMP TABLE strata AS\n"
        "SELECT party, zone, zone || '|' || CASE WHEN count(*) OVER (PARTITION BY zone, used) >= "
        f"{STRATUM}\n  THEN used ELSE '' END AS stratum FROM (\n"
        "  SELECT party, zone, used FROM (\n"
        "    SELECT party, coalesce(timezone, '') AS zone, coalesce(product, '') AS used,"
        " count(*) AS n\n"
        "    FROM requests GROUP BY ALL)\n"
        "  QUALIFY row_number() OVER (PARTITION BY party ORDER BY n DESC, zone, used) = 1)",
        _links(files.templates),
    ]


def _accounts(there: bool) -> str:
    if there:
        return (
            "CREATE OR REPLACE TEMP VIEW accounts AS\n"
            f"SELECT *, coalesce('{TENANT}' || tenant, '{ACCOUNT}' || account_id) AS party\n"
            "FROM read_parquet(getvariable('store') || '/accounts.parquet')"
        )
    columns = ", ".join(f"NULL::{_TYPES[one.kind]} AS {one.name}" for one in ACCOUNTS)
    return (
        f"CREATE OR REPLACE TEMP VIEW accounts AS\n"
        f"SELECT {columns}, NULL::VARCHAR AS party WHERE false"
    )


def _links(templates: bool) -> str:
    """Return what makes the one value that each party has of each kind."""
    kinds = [
        f"SELECT '{name}' AS kind, min({name}) AS value, party FROM accounts "
        f"WHERE {name} IS NOT NULL AND party IN (SELECT party FROM strata) GROUP BY party"
        for name in KINDS
    ]
    networks = (
        "SELECT CASE WHEN zones >= 3 THEN 'relay' ELSE 'client network' END AS kind, value, party\n"
        "FROM (SELECT party, client_subnet AS value FROM (\n"
        "    SELECT party, client_subnet, count(*) AS n FROM requests\n"
        "    WHERE client_subnet IS NOT NULL GROUP BY ALL)\n"
        "  QUALIFY row_number() OVER (PARTITION BY party ORDER BY n DESC, client_subnet) = 1)\n"
        "JOIN (SELECT client_subnet AS value, count(DISTINCT timezone) AS zones FROM requests\n"
        "  WHERE client_subnet IS NOT NULL GROUP BY ALL) USING (value)"
    )
    opened = (
        f"SELECT '{TOGETHER}' AS kind, min((epoch_us(created_at) // 3600000000)::VARCHAR) AS value,"
        "\n  party FROM accounts WHERE created_at IS NOT NULL\n"
        "  AND party IN (SELECT party FROM strata) GROUP BY party"
    )
    every = [*kinds, networks, opened]
    if templates:
        every.append(
            f"SELECT '{TEMPLATE}' AS kind, template AS value, party FROM read_parquet("
            f"getvariable('cases') || '/{TEMPLATES_FILE}')"
        )
    # What very many have in common is no link.
    return (
        "CREATE OR REPLACE TEMP TABLE links AS\nSELECT * FROM (\n"
        + "\nUNION ALL\n".join(every)
        + ")\nQUALIFY count(*) OVER (PARTITION BY kind, value)\n"
        f"  <= greatest({RARE}, (SELECT count(*) FROM strata) // 100)"
    )


def prepare_case(case_id: str, *, sketches: bool) -> list[str]:
    """Return the statements that make the tables of one case, after those of its store."""
    return list(case_tables(case_id, sketches=sketches).values())


def case_tables(case_id: str, *, sketches: bool) -> dict[str, str]:
    """Return the statement that makes each table of one case, in the order in which they are made.

    `client_keys` and `marked` are there with `sketches` alone.
    """
    where = f"getvariable('cases') || '/{case_id}/"
    found = {
        "members": "CREATE OR REPLACE TEMP TABLE members AS\n"
        f"SELECT account_id, coalesce(party, '{ACCOUNT}' || account_id) AS party\n"
        f"FROM read_parquet({where}{MEMBERS_FILE}') LEFT JOIN accounts USING (account_id)",
        "groups": "CREATE OR REPLACE TEMP TABLE groups AS "
        f"FROM read_parquet({where}{GROUPS_FILE}')",
        "mine": "CREATE OR REPLACE TEMP TABLE mine AS\n"
        "FROM requests WHERE account_id IN (SELECT account_id FROM members)",
        # A group may have been tested with parties that the case does not name.
        "tested": "CREATE OR REPLACE TEMP TABLE tested AS\n"
        "FROM requests WHERE party IN (SELECT party FROM groups)",
    }
    if sketches:
        found["client_keys"] = (
            "CREATE OR REPLACE TEMP TABLE client_keys AS\n"
            f"SELECT *, {KEY_SETTINGS} AS settings FROM read_parquet({where}{KEYS_FILE}')"
        )
        # Each request belongs to the band of its sketch that most parties used twice or more.
        found["marked"] = (
            "CREATE OR REPLACE TEMP TABLE marked AS\n"
            "WITH bands AS (SELECT source, row, party, unnest(prompt_sketch) AS band FROM mine),\n"
            "used AS (SELECT band, party, count(*) AS n FROM bands GROUP BY ALL"
            " HAVING count(*) >= 2),\n"
            "spread AS (SELECT band, count(*) AS parties, sum(n) AS uses FROM used GROUP BY band"
            " HAVING count(*) >= 4)\n"
            "SELECT source, row, arg_max(band, (parties, uses, band)) AS template\n"
            "FROM bands JOIN spread USING (band) GROUP BY ALL"
        )
    return found


def within(candidate_id: str) -> str:
    """Return the parties of a group, as a condition."""
    return f"party IN (SELECT party FROM groups WHERE candidate_id = {quoted(candidate_id)})"


def shared_links(kind: str, candidate_id: str) -> str:
    """Return what counts the members beyond the first of each value of a kind."""
    return (
        "SELECT coalesce(sum(n - 1), 0)::DOUBLE FROM (\n"
        f"  SELECT count(*) AS n FROM links WHERE kind = '{kind}' AND {within(candidate_id)}\n"
        "  GROUP BY value)"
    )


def expected_links(kind: str, candidate_id: str) -> str:
    """Return the same for parties drawn at random within each stratum.

    Where the group is more than half of a product's parties in a zone, the zone is one stratum.
    """
    inside = f"count(*) FILTER (WHERE {within(candidate_id)})"
    return (
        f"WITH wide AS (SELECT zone FROM strata GROUP BY zone, stratum HAVING 2 * {inside}\n"
        "    > count(*)),\n"
        "beside AS (SELECT party,\n"
        "  CASE WHEN zone IN (FROM wide) THEN zone ELSE stratum END AS name FROM strata)\n"
        "SELECT coalesce(sum(expected - 1 + missed), 0) FROM (\n"
        "  SELECT sum(share) AS expected, product(1 - share) AS missed\n"
        "  FROM links JOIN beside USING (party) JOIN (\n"
        f"    SELECT name, {inside} / count(*) AS share FROM beside\n"
        "    GROUP BY name) USING (name)\n"
        f"  WHERE kind = '{kind}' GROUP BY value)"
    )


def together(candidate_id: str, minutes: int, *, keyed: bool = False) -> str:
    """Return the sum over bins of so many minutes of the squared number of requests.

    Of a group that keys chose those requests are counted that have the settings of its keys.
    """
    settings = (
        f"\n  AND {SETTINGS} IN (SELECT settings FROM client_keys\n"
        f"    WHERE candidate_id = {quoted(candidate_id)})"
        if keyed
        else ""
    )
    return (
        "SELECT coalesce(sum(n * n), 0)::DOUBLE FROM (\n"
        f"  SELECT count(*) AS n FROM tested WHERE {within(candidate_id)}{settings}\n"
        f"  GROUP BY day, second // {60 * minutes})"
    )


def _again(candidate_id: str) -> str:
    """Return a group's requests, and those of them that another party repeated at once."""
    return (
        "WITH asked AS (SELECT source, row, party, micros, prompt_hash, "
        f"status IN ({REFUSED_LIST}) AS refused\n"
        f"  FROM tested WHERE prompt_hash IS NOT NULL AND status IS NOT NULL\n"
        f"  AND {within(candidate_id)}),\n"
        "again AS (SELECT DISTINCT a.source, a.row FROM asked a JOIN asked b\n"
        "  ON a.prompt_hash = b.prompt_hash AND a.party <> b.party AND b.micros > a.micros\n"
        f"  AND b.micros <= a.micros + {HANDED_S}000000)\n"
    )


def handed_over(candidate_id: str) -> str:
    """Return how many requests that were refused another party repeated at once."""
    return (
        f"{_again(candidate_id)}SELECT count(*)::DOUBLE FROM asked\n"
        "WHERE refused AND (source, row) IN (SELECT source, row FROM again)"
    )


def expected_handed_over(candidate_id: str) -> str:
    """Return how many refused ones would be repeated if it were all one to the others."""
    return (
        f"{_again(candidate_id)}SELECT count(*) FILTER (WHERE refused) * count(*) FILTER (WHERE "
        "(source, row) IN\n  (SELECT source, row FROM again)) / count(*) FROM asked"
    )


def askers(candidate_id: str, signal: str) -> str:
    """Return how many parties of a group have a quarter of their prompts match a pattern."""
    return (
        "SELECT count(*)::DOUBLE FROM (SELECT party FROM tested\n"
        f"  WHERE prompt IS NOT NULL AND {within(candidate_id)} GROUP BY party\n"
        f"  HAVING 4 * count(*) FILTER (WHERE {matches(PATTERNS[ASKING[signal]])})\n  >= count(*))"
    )


def matches(pattern: str) -> str:
    """Return the condition that a prompt matches a pattern."""
    return f"regexp_matches(lower(prompt), {quoted(pattern)}, 's')"


TOTALS = {
    "accounts": "SELECT count(DISTINCT account_id) FROM mine",
    "parties": "SELECT count(DISTINCT party) FROM mine",
    "requests": "SELECT count(*) FROM mine",
    "share of all requests": "SELECT count(*) / (SELECT count(*) FROM requests) FROM mine",
    "first request": "SELECT strftime(make_timestamp(min(micros)), '%Y-%m-%dT%H:%M:%SZ') FROM mine",
    "last request": "SELECT strftime(make_timestamp(max(micros)), '%Y-%m-%dT%H:%M:%SZ') FROM mine",
    "requests an account and active day": (
        "SELECT count(*) / count(DISTINCT (account_id, day)) FROM mine"
    ),
    "refused": (
        "SELECT CASE WHEN count(status) > 0\n"
        f"  THEN count(*) FILTER (WHERE status IN ({REFUSED_LIST})) END FROM mine"
    ),
    "tokens written": "SELECT sum(completion_tokens)::BIGINT FROM mine",
}
TIMELINE = (
    "SELECT strftime(make_timestamp(day * 86400000000), '%Y-%m-%d') AS day, count(*) AS requests,\n"
    "  count(DISTINCT account_id) AS accounts FROM mine GROUP BY ALL ORDER BY ALL"
)
SHARED = (
    "SELECT kind, value, count(*) AS parties, string_agg(party, chr(10) ORDER BY party) AS who\n"
    f"FROM links WHERE kind <> '{TEMPLATE}' AND party IN (SELECT party FROM members)\n"
    "GROUP BY ALL HAVING count(*) > 1 ORDER BY parties DESC, kind, value"
)


# What of queries reads the requests of others, or every prompt: figures that are made once have
# other tables for it (`once`).
OTHERS = "party NOT IN (SELECT party FROM members)"
TEMPLATES_USE = (
    "  SELECT template, count(*) AS outside FROM (\n"
    "    SELECT band AS template, party FROM (\n"
    "      SELECT party, unnest(prompt_sketch) AS band FROM requests\n"
    f"      WHERE {OTHERS}\n"
    "      AND list_has_any(prompt_sketch, (SELECT list(template) FROM top)))\n"
    "    WHERE band IN (SELECT template FROM top) GROUP BY ALL HAVING count(*) >= 2)\n"
    "  GROUP BY ALL)\n"
)
OUTSIDE_USE = (
    f"  SELECT party FROM requests, top WHERE {OTHERS}\n"
    "  AND list_contains(prompt_sketch, template) GROUP BY party HAVING count(*) >= 2)"
)


def templates() -> str:
    """Return what describes the commonest templates without a word of them."""
    return (
        "WITH top AS (SELECT template, count(*) AS requests,\n"
        "    count(DISTINCT account_id) AS accounts, count(DISTINCT prompt_hash) AS wordings,\n"
        "    count(DISTINCT prompt_head) AS beginnings, count(DISTINCT prompt_tail) AS endings,\n"
        "    min(prompt_words) AS shortest, max(prompt_words) AS longest\n"
        "  FROM marked JOIN mine USING (source, row) GROUP BY template\n"
        f"  ORDER BY requests DESC, template LIMIT {MOST_TEMPLATES}),\n"
        f"others AS (\n{TEMPLATES_USE}"
        "SELECT row_number() OVER (ORDER BY requests DESC, template) AS template,\n"
        "  requests, accounts, wordings, beginnings, endings, shortest, longest,\n"
        "  coalesce(outside, 0) AS outside\n"
        "FROM top LEFT JOIN others USING (template) ORDER BY 1"
    )


def examples() -> str:
    """Return what shows one prompt of each of the commonest templates: for --with-text alone."""
    return (
        "SELECT arg_min(prompt, (micros, account_id)) FROM marked JOIN mine USING (source, row)\n"
        f"GROUP BY template ORDER BY count(*) DESC, template LIMIT {MOST_TEMPLATES}"
    )


def largest_share(*kinds: str) -> str:
    """Return the largest part of the case's parties that one value of some kinds has.

    A value that others have more than half as often, as a large provider's mail, counts for none.
    """
    named = ", ".join(f"'{kind}'" for kind in kinds)
    return (
        "SELECT coalesce(max(inside / mine), 0) FROM (\n"
        "  SELECT count(*) FILTER (WHERE party IN (SELECT party FROM members)) AS inside,\n"
        "    count(*) FILTER (WHERE party NOT IN (SELECT party FROM members)) AS outside\n"
        f"  FROM links WHERE kind IN ({named}) GROUP BY kind, value),\n"
        "  (SELECT count(*) FILTER (WHERE party IN (SELECT party FROM members)) AS mine,\n"
        "    count(*) FILTER (WHERE party NOT IN (SELECT party FROM members)) AS others\n"
        "  FROM strata)\n"
        "WHERE inside * others >= 2 * outside * mine"
    )


OUTSIDE = (
    "WITH top AS (SELECT template, count(DISTINCT party) AS inside FROM marked\n"
    "    JOIN mine USING (source, row) GROUP BY template\n"
    "    ORDER BY inside DESC, template LIMIT 1)\n"
    "SELECT count(*) / (SELECT inside FROM top) FROM (\n" + OUTSIDE_USE
)
LARGEST_DAY = "SELECT max(n) / sum(n) FROM (SELECT count(*) AS n FROM mine GROUP BY day)"
FULL_HOUR = "SELECT count(*) FILTER (WHERE second % 3600 < 60) / count(*) FROM mine"
RETRIES = (
    "SELECT count(*) FILTER (WHERE micros - before <= 120000000) / count(*) FROM (\n"
    "  SELECT micros, lag(micros) OVER (PARTITION BY account_id, prompt_hash ORDER BY micros)"
    " AS before\n  FROM mine WHERE prompt_hash IS NOT NULL)"
)
OVERLAP = (
    "SELECT avg(n) / (SELECT count(DISTINCT party) FROM mine) FROM (\n"
    "  SELECT count(DISTINCT party) AS n FROM mine GROUP BY day)"
)
SIGNED_UP = (
    "SELECT max(n) / (SELECT count(*) FROM members) FROM (\n"
    "  SELECT count(*) AS n FROM accounts\n"
    "  WHERE created_at IS NOT NULL AND account_id IN (SELECT account_id FROM members)\n"
    "  GROUP BY epoch_us(created_at) // 3600000000)"
)
