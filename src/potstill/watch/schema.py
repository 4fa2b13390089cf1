"""The one schema of traffic: a table of requests, and a table of accounts beside it.

Every form of log is brought to these columns, and every signal is a function of them. What a log
does not say is null, in a column that is there. docs/reference/traffic.md is made from this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "potstill/traffic/1"
# How a party is called: a declared tenant, or an account that has none.
TENANT, ACCOUNT = "t:", "a:"
Kind = Literal["text", "time", "int32", "int64", "float64", "bool", "bands"]
Family = Literal["content", "time", "infrastructure", "intent"]


@dataclass(frozen=True)
class TrafficColumn:
    """One column. A row without one that is `needed` is set aside.

    `text` columns hold what somebody wrote: only the privacy mode `full` stores them. `keyed` ones
    are stored as a keyed hash of what the log says.
    """

    name: str
    kind: Kind
    meaning: str
    needed: bool = False
    text: bool = False
    keyed: bool = False


@dataclass(frozen=True)
class SignalNeeds:
    """A signal that campaigns are found by, and the columns without which it is off.

    Of each tuple of names one is enough. What only `corroborates` is in no e-value: it is shown on
    the cases that others made.
    """

    signal: str
    family: Family
    requests: tuple[tuple[str, ...], ...] = ()
    accounts: tuple[tuple[str, ...], ...] = ()
    corroborates: bool = False


REQUESTS: tuple[TrafficColumn, ...] = (
    TrafficColumn(
        "request_id",
        "text",
        "what the log calls the request; where it does not, the file and the row",
        needed=True,
    ),
    TrafficColumn("account_id", "text", "whose request it is", needed=True),
    TrafficColumn("time", "time", "when it was made", needed=True),
    TrafficColumn("model", "text", "the model that was asked for"),
    TrafficColumn("product", "text", "what of the service was used: an API, an app, a surface"),
    TrafficColumn("status", "int32", "the HTTP status of the answer"),
    TrafficColumn("prompt_tokens", "int32", "tokens read; a failed request may have none"),
    TrafficColumn("completion_tokens", "int32", "tokens written"),
    TrafficColumn("latency_s", "float64", "seconds from the request to the end of its answer"),
    TrafficColumn("temperature", "float64", "as it was asked for; most requests set none"),
    TrafficColumn("max_tokens", "int32", "as it was asked for"),
    TrafficColumn("stream", "bool", "whether the answer was streamed"),
    TrafficColumn("system", "text", "the system message", text=True),
    TrafficColumn("prompt", "text", "the last message of the user", text=True),
    TrafficColumn("messages", "text", "all messages that were sent, as JSON", text=True),
    TrafficColumn("response", "text", "what was answered", text=True),
    TrafficColumn("tools", "text", "the tools on offer, as JSON", text=True),
    TrafficColumn("client", "text", "the client's address", keyed=True),
    TrafficColumn(
        "client_subnet", "text", "the /24 (of IPv6 the /48) of the client's address", keyed=True
    ),
    TrafficColumn("user_agent", "text", "what the client calls itself"),
)

ACCOUNTS: tuple[TrafficColumn, ...] = (
    TrafficColumn("account_id", "text", "as the requests have it", needed=True),
    TrafficColumn("created_at", "time", "when the account was opened"),
    TrafficColumn("plan", "text", "what was bought"),
    TrafficColumn("payment", "text", "what it is paid with; a free account has none", keyed=True),
    TrafficColumn(
        "email_domain", "text", "what stands behind the @ of its e-mail address", keyed=True
    ),
    TrafficColumn("device", "text", "the fingerprint of the device that opened it", keyed=True),
    TrafficColumn(
        "subnet",
        "text",
        "the network that it was opened from, hashed as `client_subnet` is",
        keyed=True,
    ),
    TrafficColumn("asn", "int32", "the number of the autonomous system"),
    TrafficColumn("country", "text", "where it says that it is"),
    TrafficColumn("timezone", "text", "the name of its time zone"),
    TrafficColumn("tenant", "text", "the contract, or the customer, that it belongs to"),
)

# What a store of requests has beside them, made as they are taken in.
MADE: tuple[TrafficColumn, ...] = (
    TrafficColumn("prompt_chars", "int32", "characters of the last message of the user"),
    TrafficColumn("response_chars", "int32", "characters of the answer"),
    TrafficColumn("source", "text", "the first 16 digits of the digest of the file it came from"),
    TrafficColumn("row", "int64", "its line or row there, from 1"),
)
SKETCHES: tuple[TrafficColumn, ...] = (
    TrafficColumn("prompt_sketch", "bands", "16 bands of a keyed MinHash of the prompt's words"),
    TrafficColumn("prompt_hash", "int64", "keyed hash of all words of the prompt"),
    TrafficColumn("prompt_head", "int64", "keyed hash of its first eight words"),
    TrafficColumn("prompt_tail", "int64", "keyed hash of its last eight words"),
    TrafficColumn("prompt_words", "int32", "how many words it has"),
    TrafficColumn("system_hash", "int64", "keyed hash of all words of the system message"),
    TrafficColumn("response_hash", "int64", "keyed hash of all words of the answer"),
)

SIGNALS: tuple[SignalNeeds, ...] = (
    SignalNeeds("template spread", "content", (("prompt",),)),
    SignalNeeds("slot coverage", "content", (("prompt",),)),
    SignalNeeds("coverage growth", "content", (("prompt",),), corroborates=True),
    SignalNeeds("window shift", "content", (("prompt",),), corroborates=True),
    SignalNeeds("shared system message", "content", (("system",),)),
    SignalNeeds("synchrony", "time"),
    SignalNeeds("complementary load", "time"),
    SignalNeeds("no idle hours", "time", corroborates=True),
    SignalNeeds("hand-off", "time", (("status",),)),
    SignalNeeds("pivot to a new model", "time", (("model",),), corroborates=True),
    SignalNeeds("shared payment", "infrastructure", accounts=(("payment",),)),
    SignalNeeds("shared device", "infrastructure", accounts=(("device",),)),
    SignalNeeds("shared e-mail domain", "infrastructure", accounts=(("email_domain",),)),
    SignalNeeds("shared network of accounts", "infrastructure", accounts=(("subnet", "asn"),)),
    SignalNeeds("shared client address", "infrastructure", (("client",),)),
    SignalNeeds("accounts opened together", "infrastructure", accounts=(("created_at",),)),
    SignalNeeds("reasoning elicitation", "intent", (("prompt",),)),
    SignalNeeds("rubric and reward prompts", "intent", (("prompt",),)),
    SignalNeeds("output appetite", "intent", (("completion_tokens",),), corroborates=True),
)


def party_of(account_id: str, tenant: str | None = None) -> str:
    """Return the party that an account is of."""
    return f"{ACCOUNT}{account_id}" if tenant is None else f"{TENANT}{tenant}"


def names_of(columns: Iterable[TrafficColumn]) -> tuple[str, ...]:
    """Return the columns' names."""
    return tuple(column.name for column in columns)


def store_columns(*, sketches: bool, text: bool) -> tuple[TrafficColumn, ...]:
    """Return the columns that a store of requests has: without text, or with it."""
    kept = tuple(column for column in REQUESTS if text or not column.text)
    return (*kept, *MADE, *(SKETCHES if sketches else ()))


def switched_off(
    requests: Collection[str], accounts: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return the signals that are off, each with the columns whose lack switches it off.

    `requests` and `accounts` are the columns that hold something.
    """
    off: dict[str, tuple[str, ...]] = {}
    for needs in SIGNALS:
        lacking = [
            f"{table}.{' or '.join(names)}"
            for table, there, wanted in (
                ("requests", requests, needs.requests),
                ("accounts", accounts, needs.accounts),
            )
            for names in wanted
            if not any(name in there for name in names)
        ]
        if lacking:
            off[needs.signal] = tuple(lacking)
    return off


def arrow_type(kind: Kind) -> pa.DataType:
    """Return the type of a column in Arrow and Parquet; times are UTC, in microseconds."""
    import pyarrow as pa

    return {
        "text": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "bands": pa.list_(pa.int64()),
    }[kind]


def arrow_schema(columns: Iterable[TrafficColumn]) -> pa.Schema:
    """Return columns as a schema of Arrow."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, arrow_type(column.kind)) for column in columns])
