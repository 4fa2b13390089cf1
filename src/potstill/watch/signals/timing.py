"""Time: when the parties of a group act, and who acts after whom."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from potstill.watch.signals.traffic import Traffic

REFUSED = (401, 403, 429)
HANDED_S = 120


def moments(traffic: Traffic, asked: ir.Table) -> ir.Table:
    """Synchrony and complementary load: when each party of a group asked.

    `asked` has the requests of groups (`asked_with`). Columns `group`, `party`, `day` (number
    since 1970), `second` (of the UTC day), `product` ("" where the log names none).

    Catches: accounts that one timer starts, or that rest while another works. Looks the same: the
    rhythm of a day, which shifts by whole days keep (`synchrony_log_e`); timers at the full hour,
    which they keep too; a launch or an outage, which shifts inside the hour keep. A class does act
    together: with nothing but its place beside it, it is no case. Evaded by jitter of minutes.
    """
    requests = traffic.requests
    rows = requests.select(
        "number", "party", "day", "second", product=requests["product"].fill_null("")
    )
    found = rows.inner_join(asked, "number")
    found = found.select("group", "party", "day", "second", "product")
    return found.order_by("group")


def subjects(traffic: Traffic, asked: ir.Table) -> ir.Table:
    """Common rounds: what the parties of a group that act together ask at these moments.

    Columns `group`, `party`, `day`, `second`, `prompt_sketch` of the requests that are `asked` in
    groups.

    Catches: work that is dealt out in rounds, to accounts with one client and nothing else in
    common: they act in the same minutes, and each on a subject of its own (`on_their_own`). Looks
    the same: a class or an office (not counted where half of the parties share a place), a feed
    that many follow or an exercise that is read out (then the subject is the same), a vendor whose
    server starts the clients of all of its customers. Evaded by jitter, or by asking twice.
    """
    requests = traffic.requests.filter(traffic.requests.prompt_sketch.notnull())
    rows = requests.select("number", "request_id", "party", "day", "second", "prompt_sketch")
    found = rows.inner_join(asked, "number")
    found = found.select("group", "party", "day", "second", "prompt_sketch", "request_id")
    return found.order_by("group", "party", "day", "second", "request_id").drop("request_id")


def minutes(traffic: Traffic) -> ir.Table:
    """Return the volume: how many requests each product had in each minute.

    Columns `product`, `day`, `minute` (of the UTC day), `n`.
    """
    requests = traffic.requests
    rows = requests.select(
        "day", product=requests["product"].fill_null(""), minute=requests.second // 60
    )
    return rows.group_by("product", "day", "minute").aggregate(n=rows.count())


def hand_offs(traffic: Traffic, members: ir.Table) -> ir.Table:
    """Hand-off: of each group, requests that were refused (401, 403, 429) or not, and how many of
    either another party of the group repeated, word by word, within two minutes.

    Columns `group`, `refused`, `n`, `followed`.

    Catches: a pool that gives a refused request to its next account. Looks the same: strangers who
    work on one list meet by chance, as often after an answer as after a refusal
    (`hand_off_log_e`). Evaded by waiting, or by wording the request anew.
    """
    rows, after = _followed(traffic, members)
    followed = after.select("group", "number").distinct().mutate(hit=ibis.literal(1))
    joined = rows.left_join(followed, ["group", "number"])
    found = joined.group_by("group", "refused").aggregate(
        n=joined.count(), followed=joined.hit.fill_null(0).sum()
    )
    return found.order_by("group", "refused")


def handing_over(traffic: Traffic, members: ir.Table) -> ir.Table:
    """Return the parties that had a refused request repeated by another one, or repeated it.

    Columns `group`, `party`.
    """
    _, after = _followed(traffic, members)
    refused = after.filter(after.refused)
    both = ibis.union(
        refused.select("group", "party"), refused.select("group", party=refused.follower)
    )
    return both.distinct().order_by("group", "party")


def _followed(traffic: Traffic, members: ir.Table) -> tuple[ir.Table, ir.Table]:
    """Return a group's requests, and those that another party repeated, with that `follower`."""
    requests = traffic.requests
    rows = requests.filter(requests.prompt_hash.notnull() & requests.status.notnull())
    rows = rows.select("number", "party", "micros", "status", "prompt_hash").inner_join(
        members, "party"
    )
    rows = rows.select(
        "group", "number", "party", "prompt_hash", "micros",
        refused=rows.status.isin(REFUSED),
    )  # fmt: skip
    later = rows.view()
    after = rows.inner_join(
        later,
        [
            rows.group == later.group,
            rows.prompt_hash == later.prompt_hash,
            rows.party != later.party,
            later.micros > rows.micros,
            later.micros <= rows.micros + HANDED_S * 1_000_000,
        ],
    )
    return rows, after.select(
        rows.group, rows.number, rows.party, rows.refused, follower=later.party
    )
