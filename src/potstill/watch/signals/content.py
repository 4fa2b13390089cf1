"""Content: which parties ask with the same templates, and what they ask with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.durable import temporary_folder
from potstill.watch.campaigns import LEAST_PARTIES, Grouping
from potstill.watch.keys import SEPARATOR, settings_of
from potstill.watch.pieces import PieceUse, piece_use
from potstill.watch.signals.traffic import Traffic, members_table
from potstill.watch.sketches import SLOT_BITS, SLOTS, SLOTS_A_BAND, slots_of
from potstill.watch.words import words_of

Ints = NDArray[np.int64]

# A party uses a piece if it used it as often as this, and in one of so many of its requests: a
# prompt that was tried once joins nobody.
USED, ONE_IN = 2, 50
# Parties of a group whose requests are read for slot coverage, and requests.
PARTIES_HELD, ROWS_HELD = 300, 100_000
# Two slots of each band: the other ones tell little more.
_SLOTS = tuple(range(0, SLOTS, 2))


def template_use(traffic: Traffic) -> PieceUse:
    """Template spread: how often each party used which piece of a template.

    Formula: a piece is a slot of the prompts' sketches with its value, which prompts with Jaccard
    similarity J share with chance J. Those count that a party used at least `USED` times, and in
    one of `ONE_IN` of its requests.

    Catches: one template over accounts that have nothing to do with one another. Looks the same:
    public evaluation suites, a harness's prompts, a course; so it chooses groups (`Profiles`) and
    convicts nobody. Evaded by wording every request anew (then links choose the group), or by
    templates that each account has for itself.
    """
    requests = traffic.requests.filter(traffic.requests.prompt_sketch.notnull())
    if traffic.engine.far:
        return _counted_there(traffic)
    names = traffic.rows(requests.select("party").distinct().order_by("party"))["party"]
    known = names.combine_chunks()

    def numbered() -> Iterator[tuple[Ints, NDArray[np.uint16]]]:
        for batch in traffic.batches(requests.select("party", "prompt_sketch")):
            place = np.asarray(pc.index_in(batch.column("party"), known)).astype(np.int64)
            yield place, slots_of(batch.column("prompt_sketch"))[:, _SLOTS]

    with temporary_folder() as folder:
        return piece_use(tuple(names.to_pylist()), numbered(), _SLOTS, folder, USED, ONE_IN)


def pieces_used(traffic: Traffic) -> ir.Table:
    """Return what `template_use` counts, as an expression: sketches of all requests stay there.

    Columns `party`, `piece`, `n`, `asked` (the party's requests that have a sketch).
    """
    requests = traffic.requests.filter(traffic.requests.prompt_sketch.notnull())
    whole = requests.group_by("party").aggregate(asked=requests.count())
    pieces = ibis.array([_piece(requests.prompt_sketch, slot) for slot in _SLOTS])
    each = requests.select("party", piece=pieces.unnest())
    use = each.group_by("party", "piece").aggregate(n=each.count())
    use = use.filter(use.n >= USED).inner_join(whole, "party")
    return use.filter(use.n * ONE_IN >= use.asked).select("party", "piece", "n", "asked")


def _piece(sketch: ir.ArrayValue, slot: int) -> ir.IntegerValue:
    band, k = divmod(slot, SLOTS_A_BAND)
    return ((sketch[band] >> (SLOT_BITS * k)) & (2**SLOT_BITS - 1)) + (slot << SLOT_BITS)


def _counted_there(traffic: Traffic) -> PieceUse:
    requests = traffic.requests.filter(traffic.requests.prompt_sketch.notnull())
    whole = requests.group_by("party").aggregate(asked=requests.count()).order_by("party")
    known, use = traffic.rows(whole), traffic.rows(pieces_used(traffic))
    party_E = np.asarray(pc.index_in(use["party"], known["party"].combine_chunks())).astype(
        np.int64
    )
    piece_E, n_E = (np.asarray(use[name]).astype(np.int32) for name in ("piece", "n"))
    order = np.argsort((party_E << 32) | piece_E)
    return PieceUse(
        tuple(known["party"].to_pylist()),
        party_E[order].astype(np.int32),
        piece_E[order],
        n_E[order],
        np.asarray(known["asked"]).astype(np.int64),
    )


def template_keys(traffic: Traffic, most: int) -> ir.Table:
    """Shared system message and settings: which party used which key of a client, how often.

    Formula: a request's settings are its system message (its hash), model, product, temperature,
    limit and whether it streams. Its keys are the settings where there is a system message, and
    the settings with the first eight words of the prompt, and with the last eight (hashes). Columns
    `key`, `party`, `n`; keys of `LEAST_PARTIES` to `most` parties.

    Catches: what is hard-coded in a client that many accounts run, whatever the language, the
    slots, or the ordinary requests beside it. Looks the same: a public harness, a course's or a
    vendor's client; so it chooses groups (`key_groups`) and convicts nobody. Evaded by settings and
    a system message that each account has for itself (then `template_use` or links choose).
    """
    requests = traffic.requests
    settings = _settings(requests)
    alone = ibis.ifelse(requests.system_hash.notnull(), "s|" + settings, ibis.null("string"))
    ends = [
        sign + settings + SEPARATOR + hashed.cast("string")
        for sign, hashed in (("h|", requests.prompt_head), ("t|", requests.prompt_tail))
    ]
    keyed = requests.select("party", key=ibis.array([alone, *ends]).unnest())
    keyed = keyed.filter(keyed.key.notnull())
    use = keyed.group_by("key", "party").aggregate(n=keyed.count())
    parties = use.group_by("key").aggregate(parties=use.count())
    parties = parties.filter((parties.parties >= LEAST_PARTIES) & (parties.parties <= most))
    return use.semi_join(parties, "key").order_by("key", "party")


def _settings(requests: ir.Table) -> ir.StringValue:
    # Without sketches there is no hash of it, and no key.
    hashed = "system_hash" in requests.columns
    system = requests.system_hash if hashed else ibis.null("int64")
    # Nobody means what lies outside, and no whole number would hold it.
    warm = ibis.ifelse(requests.temperature.between(0, 1_000), requests.temperature, None)
    parts = [
        system.cast("string"),
        requests.model,
        requests["product"],
        # Whole numbers, which every engine writes alike.
        (warm * 1_000).round().cast("int64").cast("string"),
        requests.max_tokens.cast("string"),
        requests.stream.cast("int32").cast("string"),
    ]
    return ibis.literal("|").join([part.fill_null("") for part in parts])


def asked_with(traffic: Traffic, groups: Sequence[Grouping], name: str) -> ir.Table:
    """Return the requests of groups' parties that have the settings of the group's keys.

    Of a group without keys it is every one. Columns `group` (its place) and `number` (a
    request's). Tables are made whose names begin with `name`.
    """
    pairs = [(n, one) for n, group in enumerate(groups) for one in settings_of(group.keys)]
    known = pa.table(
        {
            "group": pa.array([group for group, _ in pairs], pa.int32()),
            "settings": pa.array([one for _, one in pairs], pa.string()),
        }
    )
    stated = traffic.engine.named(f"{name}_settings", known)
    keyed = members_table(traffic, [g.parties if g.keys else () for g in groups], f"{name}_keyed")
    others = members_table(traffic, [() if g.keys else g.parties for g in groups], f"{name}_others")
    requests = traffic.requests.select("number", "party", settings=_settings(traffic.requests))
    of_group = keyed.inner_join(stated, "group")
    columns = ("group", "number")
    found = ibis.union(
        requests.inner_join(of_group, ["party", "settings"]).select(*columns),
        requests.inner_join(others, "party").select(*columns),
    )
    return traffic.engine.kept(name, found)


def asked_counts(traffic: Traffic, asked: ir.Table) -> ir.Table:
    """Return how many of the requests that are `asked` each party of a group made.

    Columns `group`, `party`, `n`.
    """
    rows = traffic.requests.select("number", "party").inner_join(asked, "number")
    each = rows.group_by("group", "party").aggregate(n=rows.count())
    return each.order_by(each.group, each.n.desc(), each.party)


def held_at_once(group_E: Ints, n_E: Ints) -> NDArray[np.bool_]:
    """Tell of parties, sorted by group and by how much each asked, whose requests are read.

    So many of a group, and so many requests together; where those who asked most have more, those
    who follow. It hangs on how much parties asked, on no day.
    """
    kept = np.zeros(len(group_E), np.bool_)
    edges = [*np.flatnonzero(np.diff(group_E, prepend=-1)).tolist(), len(group_E)]
    for begins, ends in itertools.pairwise(edges):
        most = np.concatenate([[0], np.cumsum(n_E[begins:ends])])
        last = np.minimum(np.arange(ends - begins) + PARTIES_HELD, ends - begins)
        fit = np.flatnonzero(most[last] - most[:-1] <= ROWS_HELD)
        first = min(int(fit[0]) if len(fit) else ends, max(ends - begins - LEAST_PARTIES, 0))
        kept[begins + first : begins + int(last[first])] = True
    return kept


def slot_values(traffic: Traffic, asked: ir.Table, parties: ir.Table | None = None) -> ir.Table:
    """Slot coverage: what each party of a group asked and was answered, day by day.

    `parties` are those of each group that count (`group`, `party`; `held_at_once`), else all.
    Columns `group`, `party`, `day`, `prompt_sketch` and, where the text is kept, `prompt`.
    `asked` has the requests of groups (`asked_with`). `of_templates` tells which of them count.

    Catches: work dealt out from one list. Together the parties go through the list evenly day by
    day, which none of them does alone: their gaps fill up one another (`sharding_log_e`). Looks
    the same: the keys of one customer, which are one party here; a suite that everybody runs
    whole is even in each account, and is not counted. Evaded by dealing out at random with
    repeats, or by an own list for each account.
    """
    requests = traffic.requests
    # What was refused is asked again, and counts when it is answered.
    answered = requests.status.isnull() | (requests.status < 400)
    requests = requests.filter(requests.prompt_sketch.notnull() & answered)
    read = [name for name in ("prompt", "prompt_sketch") if name in requests.columns]
    rows = requests.select("number", "party", "day", *read).inner_join(asked, "number")
    if parties is not None:
        rows = rows.semi_join(parties, ["group", "party"])
    return rows.select("group", "party", "day", *read).order_by("group")


def of_templates(sketches: pa.ChunkedArray, pieces: Ints) -> NDArray[np.bool_]:
    """Tell which requests are made from the templates that `pieces` are of.

    Those have half as many of the pieces as the fifth of the requests that have most. All are
    where there are no pieces. It hangs on no day.
    """
    slots_RS = slots_of(sketches.combine_chunks()).astype(np.int64)
    pieces_RS = slots_RS[:, _SLOTS] + (np.asarray(_SLOTS) << SLOT_BITS)
    has_R = np.isin(pieces_RS, pieces).sum(1)
    return np.asarray(2 * has_R >= np.quantile(has_R, 0.8) if len(has_R) else has_R > 0)


def marks(rows: pa.Table, least: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what requests are marked by: pairs of a row and a code, each once, codes sorted.

    A code is a word of the prompt, or a slot of its sketch with the slot's value. Words that come
    in fewer than `least` requests may be left out.
    """
    if "prompt" in rows.column_names:
        words = words_of(rows["prompt"].combine_chunks())
        code, row = words.words_W, np.repeat(np.arange(rows.num_rows), words.counts_N)
        if least > 1:
            # Words of one remainder come as often as each of them, or more often.
            rest = code & np.uint32(2 ** int(len(code) + 2).bit_length() - 1)
            often = np.bincount(rest)[rest] >= least
            code, row = code[often], row[often]
        pairs = np.sort((code.astype(np.uint64) << np.uint64(32)) | row.astype(np.uint64))
        pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))] if len(pairs) else pairs
        row_M, code_M = pairs & np.uint64(0xFFFFFFFF), pairs >> np.uint64(32)
        return row_M.astype(np.int64), code_M.astype(np.int64)
    slots = slots_of(rows["prompt_sketch"].combine_chunks()).astype(np.int64)
    slot_M = (slots + (np.arange(slots.shape[1]) << 16)).reshape(-1)
    order = np.argsort(slot_M, kind="stable")
    return np.repeat(np.arange(rows.num_rows), slots.shape[1])[order], slot_M[order]
