"""Drawn rows as the tables that are written: requests, accounts, and the truth about both."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.simulator.covers import AGENTS, MODELS, NEW_MODEL, PLANS, PRODUCTS, SLOW, TOOLS
from potstill.simulator.fit import FAILURES
from potstill.simulator.hashing import Keys, digit, keyed, names, uniform
from potstill.simulator.people import DAY_S, PLACES
from potstill.simulator.rows import OK, Rows
from potstill.simulator.spec import WorldSpec
from potstill.simulator.templates import Families
from potstill.simulator.text import Wording, texts
from potstill.simulator.world import World

MOMENT = pa.timestamp("us", tz="UTC")
REQUESTS = pa.schema(
    [
        ("request_id", pa.string()), ("account_id", pa.string()), ("time", MOMENT),
        ("model", pa.string()), ("product", pa.string()), ("status", pa.int32()),
        ("prompt_tokens", pa.int32()), ("completion_tokens", pa.int32()),
        ("latency_s", pa.float64()), ("temperature", pa.float64()), ("max_tokens", pa.int32()),
        ("stream", pa.bool_()), ("system", pa.string()), ("prompt", pa.string()),
        ("messages", pa.string()), ("response", pa.string()), ("tools", pa.string()),
        ("client", pa.string()), ("client_subnet", pa.string()), ("user_agent", pa.string()),
    ]
)  # fmt: skip
ACCOUNTS = pa.schema(
    [
        ("account_id", pa.string()), ("created_at", MOMENT), ("plan", pa.string()),
        ("payment", pa.string()), ("email_domain", pa.string()), ("device", pa.string()),
        ("subnet", pa.string()), ("asn", pa.int32()), ("country", pa.string()),
        ("timezone", pa.string()), ("tenant", pa.string()),
    ]
)  # fmt: skip
TRUE_REQUESTS = pa.schema(
    [("request_id", pa.string()), ("account_id", pa.string()), ("kind", pa.string()),
     ("group", pa.int32()), ("campaign_id", pa.string())]
)  # fmt: skip
TRUE_ACCOUNTS = pa.schema(
    [("account_id", pa.string()), ("kind", pa.string()), ("group", pa.int32()),
     ("campaign_id", pa.string()), ("matched_campaign", pa.string())]
)  # fmt: skip

_ERRORS, _ERROR_SHARES = np.array([500, 503, 429, 400], dtype=np.int32), (0.45, 0.6, 0.85)
# Tokens a second that each model writes.
_SPEED = np.array([140.0, 90.0, 45.0, 80.0, 60.0])
# The new model is launched at 15:00 UTC.
_LAUNCH_S = 15 * 3_600
_ADDRESSES_A_NETWORK = 8
_LONGEST_PROMPT, _LONGEST_ANSWER = 120_000, 16_000
# Streams of numbers from a request's key; text.py uses those below 200.
_FAILS, _ERROR, _INPUT, _OUTPUT, _LATENCY, _ADDRESS, _HIDDEN = range(200, 221, 3)


def _named(values: tuple[str, ...], place: NDArray[np.integer]) -> pa.Array:
    """Return names by place; null where a place is negative."""
    taken = pa.array(place.astype(np.int32), mask=place < 0)
    return pa.array(values).take(taken)


def _masked(values: np.ndarray, missing: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    return pa.array(values, mask=missing).cast(kind)


def _normal(key: Keys, stream: int) -> NDArray[np.float64]:
    """Return a standard normal number for each key (Box and Muller 1958)."""
    radius = np.sqrt(-2 * np.log1p(-uniform(key, stream)))
    return np.asarray(radius * np.cos(2 * np.pi * uniform(key, stream + 1)))


def started(spec: WorldSpec) -> int:
    """Return the world's first moment in microseconds since 1970."""
    return int(datetime.fromisoformat(spec.start).replace(tzinfo=UTC).timestamp()) * 1_000_000


def request_tables(world: World, rows: Rows, day: int, first: int) -> tuple[pa.Table, pa.Table]:
    """Return requests and what is true of them; `first` is the number of the day's first row."""
    spec = world.spec
    numbers = day * 2**40 + first + np.arange(len(rows))
    key = keyed(spec.version * 2**32 + spec.seed, numbers)
    family, who = _picked(world.families, rows.family), world.everybody
    launched = (day > spec.launch_day) | ((day == spec.launch_day) & (rows.second > _LAUNCH_S))
    model = np.where(rows.adopts & launched, NEW_MODEL, family.model)
    status = _statuses(key, rows.status, model, _in_outage(spec, day, rows.second))
    failed = status != OK
    words = texts(
        Wording(
            grammar=family.grammar, language=rows.language, intent=family.intent,
            wording=family.wording, system=family.system, loose=family.loose, item=rows.item,
            sweep=rows.sweep, request=key, turns=family.turns, answered=~failed,
        )
    )  # fmt: skip
    prompt, answer = _lengths(key, family, words["messages"])
    limit = np.where(family.limit > 0, family.limit, _LONGEST_ANSWER)
    answer = np.minimum(answer, limit)
    account_id = names("acct_", who.account).take(pa.array(rows.account))
    request_id = names("req_", key)
    place = digit(key, _ADDRESS, who.addresses[rows.account])
    client = keyed(1, place) ^ who.address[rows.account]
    network = keyed(2, place // _ADDRESSES_A_NETWORK) ^ who.address[rows.account]
    hidden = uniform(key, _HIDDEN) < 0.02
    table = pa.table(
        {
            "request_id": request_id,
            "account_id": account_id,
            "time": _moments(spec, day, rows.second),
            "model": _named(MODELS, model),
            "product": _named(PRODUCTS, family.product),
            "status": pa.array(status),
            "prompt_tokens": _masked(prompt, failed, pa.int32()),
            "completion_tokens": _masked(answer, failed, pa.int32()),
            "latency_s": pa.array(_latency(key, answer, model, failed)),
            "temperature": _masked(family.temperature, np.isnan(family.temperature), pa.float64()),
            "max_tokens": _masked(family.limit, family.limit < 0, pa.int32()),
            "stream": pa.array(family.stream),
            **words,
            "tools": _named(TOOLS, family.tools),
            "client": names("", client, hidden),
            "client_subnet": names("", network, hidden),
            "user_agent": _named(AGENTS, who.agent[rows.account]),
        }
    ).select(REQUESTS.names)
    truth = _true_requests(world, rows, request_id, account_id)
    return table.cast(REQUESTS), truth


def _picked(families: Families, number: NDArray[np.int32]) -> Families:
    return Families(
        **{f.name: getattr(families, f.name)[number] for f in dataclasses.fields(Families)}
    )


def _in_outage(spec: WorldSpec, day: int, second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell what falls into the world's one outage: ten minutes that everybody fails in together."""
    which = keyed(spec.seed, np.arange(2))
    begins = float(which[1] % np.uint64(DAY_S - 600))
    return (second >= begins) & (second < begins + 600) & (day == int(which[0]) % spec.days)


def _statuses(
    key: Keys, drawn: NDArray[np.int16], model: NDArray[np.integer], out: NDArray[np.bool_]
) -> np.ndarray:
    """Return the status of each request: what was drawn, or one of the ordinary failures."""
    chance = np.where(out, 0.5, np.array(FAILURES)[np.array(SLOW)[model]])
    error = _ERRORS[np.searchsorted(_ERROR_SHARES, uniform(key, _ERROR), side="right")]
    fails = (drawn == OK) & (uniform(key, _FAILS) < chance)
    return np.where(fails, error, drawn).astype(np.int32)


def _lengths(key: Keys, family: Families, messages: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return prompt and answer tokens; a prompt has at least those of the text that is shown."""
    shown = pc.binary_length(messages).to_numpy() // 4
    prompt = np.exp(family.input_mu + family.input_sigma * _normal(key, _INPUT))
    answer = np.exp(family.output_mu + family.output_sigma * _normal(key, _OUTPUT))
    return (
        np.clip(prompt.astype(np.int64), shown, _LONGEST_PROMPT).astype(np.int32),
        np.clip(answer.astype(np.int64), 1, _LONGEST_ANSWER).astype(np.int32),
    )


def _latency(
    key: Keys, answer: np.ndarray, model: NDArray[np.integer], failed: NDArray[np.bool_]
) -> np.ndarray:
    noise = np.exp(0.3 * _normal(key, _LATENCY))
    served = 0.3 + answer / _SPEED[model]
    return np.round(np.where(failed, 0.2, served) * noise, 3)


def _moments(spec: WorldSpec, day: int, second: NDArray[np.float64]) -> pa.Array:
    start = started(spec) + day * DAY_S * 1_000_000
    return pa.array(start + (second * 1e6).astype(np.int64), pa.int64()).cast(MOMENT)


def _campaigns(world: World) -> tuple[NDArray[np.int32], pa.Array]:
    """Return for each group the place of its campaign (-1 for none), and the campaigns' names."""
    ids = [c.campaign_id for c in world.spec.campaigns]
    place = [ids.index(p.group.campaign) if p.group.campaign else -1 for p in world.parts]
    return np.array([*place, -1], dtype=np.int32), pa.array(ids, pa.string())


def _optional(values: pa.Array, place: NDArray[np.int32]) -> pa.Array:
    return values.take(pa.array(place, mask=place < 0))


def _true_requests(
    world: World, rows: Rows, request_id: pa.Array, account_id: pa.Array
) -> pa.Table:
    group = world.everybody.group[rows.account]
    campaign_G, ids = _campaigns(world)
    # The unrelated part of anybody's requests is ordinary.
    kinds = np.where(rows.related, group, len(world.parts))
    return pa.table(
        {
            "request_id": request_id,
            "account_id": account_id,
            "kind": pa.array(world.kinds).take(pa.array(kinds)),
            "group": pa.array(group, pa.int32()),
            "campaign_id": _optional(ids, np.where(rows.related, campaign_G[group], -1)),
        },
        schema=TRUE_REQUESTS,
    )


def account_tables(world: World) -> tuple[pa.Table, pa.Table]:
    """Return the account table and what is true of each, in an order that says nothing."""
    who = world.everybody
    order = np.argsort(who.account)
    places = [place[:3] for place in PLACES]

    def hashed(prefix: str, key: Keys) -> pa.Array:
        return names(prefix, key, key == 0)

    unknown = who.account % np.uint64(50) == 0
    created = started(world.spec) + who.created_s * 1_000_000
    accounts = pa.table(
        {
            "account_id": names("acct_", who.account),
            "created_at": pa.array(created, pa.int64(), mask=unknown).cast(MOMENT),
            "plan": _named(PLANS, who.plan),
            "payment": hashed("", who.payment),
            "email_domain": hashed("", who.domain),
            "device": hashed("", who.device),
            "subnet": hashed("", who.subnet),
            "asn": pa.array(who.asn),
            "country": pa.array([p[0] for p in places]).take(pa.array(who.place)),
            "timezone": pa.array([p[1] for p in places]).take(pa.array(who.place)),
            "tenant": hashed("", who.tenant),
        },
        schema=ACCOUNTS,
    )
    campaign_G, ids = _campaigns(world)
    matched = [p.group.matched for p in world.parts] + [None]
    truth = pa.table(
        {
            "account_id": accounts["account_id"],
            "kind": pa.array(world.kinds).take(pa.array(who.group)),
            "group": pa.array(who.group, pa.int32()),
            "campaign_id": _optional(ids, campaign_G[who.group]),
            "matched_campaign": pa.array(matched, pa.string()).take(pa.array(who.group)),
        },
        schema=TRUE_ACCOUNTS,
    )
    return accounts.take(pa.array(order)), truth.take(pa.array(order))
