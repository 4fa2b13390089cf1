"""Content: which parties ask with the same templates, and what they ask with them."""

from __future__ import annotations

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.watch.signals.traffic import Traffic
from potstill.watch.sketches import slots_of
from potstill.watch.words import words_of

# A party uses a template if it used it as often as this: a prompt that was tried once joins nobody.
USED = 2


def template_use(traffic: Traffic, least: int, most: int) -> ir.Table:
    """Template spread: the parties of each bucket of prompts, with how often each used it.

    Formula: a bucket is one band of the prompts' sketches (four slots of the MinHash, all equal),
    which prompts with Jaccard similarity J share with chance 1 - (1 - J^4)^16. Columns `bucket`,
    `party`, `n` >= 2; buckets of `least` to `most` parties.

    Catches: one template over accounts that have nothing to do with one another. Looks the same:
    public evaluation suites, a harness's prompts, a course; so it chooses groups and convicts
    nobody. Evaded by wording every request anew (then links choose the group), or by templates
    that each account has for itself.
    """
    requests = traffic.requests.filter(traffic.requests.prompt_sketch.notnull())
    bands = requests.select("party", bucket=requests.prompt_sketch.unnest())
    use = bands.group_by("bucket", "party").aggregate(n=bands.count())
    use = use.filter(use.n >= USED)
    spread = use.group_by("bucket").aggregate(parties=use.count())
    spread = spread.filter((spread.parties >= least) & (spread.parties <= most))
    kept = use.semi_join(spread, "bucket")
    return kept.order_by("bucket", "party")


def slot_values(traffic: Traffic, members: ir.Table, buckets: ir.Table) -> ir.Table:
    """Slot coverage: what each party of a group asked with the group's templates, day by day.

    Columns `group`, `party`, `day` and `prompt`, or `prompt_sketch` where the text is not kept; of
    the requests with one of the group's buckets. `members` has `group` and `party`, `buckets`
    `group` and `bucket`.

    Catches: work dealt out from one list. Together the parties go through the list evenly day by
    day, which none of them does alone: their gaps fill up one another (`sharding_log_e`). Looks
    the same: the keys of one customer, which are one party here; a suite that everybody runs
    whole is even in each account, and is not counted. Evaded by dealing out at random with
    repeats, or by an own list for each account.
    """
    requests = traffic.requests
    read = ["prompt", "prompt_sketch"] if "prompt" in requests.columns else ["prompt_sketch"]
    rows = requests.select("request_id", "party", "day", *read).inner_join(members, "party")
    rows = rows.select("group", "request_id", "party", "day", *read)
    bands = rows.select("group", "request_id", bucket=rows.prompt_sketch.unnest())
    mine = bands.semi_join(buckets, ["group", "bucket"]).select("group", "request_id").distinct()
    found = rows.semi_join(mine, ["group", "request_id"]).drop(read[1:])
    return found.order_by("group", "party", "day", "request_id")


def marks(rows: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what requests are marked by: pairs of a row and a code, each once.

    A code is a word of the prompt, or a slot of its sketch with the slot's value.
    """
    if "prompt" in rows.column_names:
        words = words_of(rows["prompt"].combine_chunks())
        row = np.repeat(np.arange(rows.num_rows), words.counts_N)
        pairs = np.unique((row << 32) | words.words_W.astype(np.int64))
        return pairs >> 32, pairs & 0xFFFFFFFF
    slots = slots_of(rows["prompt_sketch"].combine_chunks()).astype(np.int64)
    code = slots + (np.arange(slots.shape[1]) << 16)
    return np.repeat(np.arange(rows.num_rows), slots.shape[1]), code.reshape(-1)
