"""Habits: what corroborates a case of which other signals made one (`watch.corroborating`).

One pass over the requests (`habits_of`) has what three of these signals read of each party, another
one (`sampled`) a few prompts of some parties for the other two. None enters an e-value.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from potstill.watch.signals.traffic import Traffic

# An hour of the day is idle in which a party makes less than one of so many of its requests.
IDLE_ONE_IN = 100
# How many hours a party reaches is told of those that made so many requests.
EVEN_FROM = 24
# A model is new that was first asked for so many days before the store's end, or later; whoever
# moves to it is looked for in the last days.
NEW_DAYS, RECENT_DAYS = 7, 3
# Numbers of rows, spread over as many as this: a request is sampled by its row alone.
SPREAD, _ROWS = 2**32, 2**31
_ODD = 2_654_435_761  # Knuth's multiplier: 2^32 over the golden ratio


def models_seen(traffic: Traffic) -> ir.Table:
    """Return each model with the day (since 1970) on which it was first asked for: `model`,
    `first`."""
    requests = traffic.requests.filter(traffic.requests.model.notnull())
    return requests.group_by("model").aggregate(first=requests.day.min()).order_by("model")


def habits_of(traffic: Traffic, new: Sequence[str], recent: int, name: str) -> ir.Table:
    """Return what each party did in each hour of the day, counted in one pass and kept as `name`.

    Columns `party`, `zone`, `used` (the product), `hour`, `n`; `answered` (requests whose
    completion tokens are known) and their sum `written`; `limited` (those with a limit too) and
    `at_limit`; `late` (from the day `recent` on) and, of these, `moved` (to one of the `new`
    models). Rows are as many as parties have hours, whatever they ask.
    """
    requests = traffic.requests
    rows = requests.select(
        "party",
        zone=requests.timezone.fill_null(""),
        used=requests["product"].fill_null(""),
        hour=requests.second // 3_600,
        written=requests.completion_tokens.cast("int64"),
        most=ibis.ifelse(requests.completion_tokens.notnull(), requests.max_tokens, None),
        late=requests.day >= recent,
        new=requests.model.isin(list(new)) if new else ibis.literal(value=False),
    )
    each = rows.group_by("party", "zone", "used", "hour").aggregate(
        n=rows.count(),
        answered=rows.written.count(),
        written=rows.written.sum().fill_null(0),
        limited=rows.most.count(),
        at_limit=_count(rows.written >= rows.most),
        late=_count(rows.late),
        moved=_count(rows.late & rows.new),
    )
    return traffic.engine.kept(name, each)


def strata_of_habits(counted: ir.Table) -> ir.Table:
    """Return what `links.strata` does, from what is counted: `party`, `zone`, `used`."""
    use = counted.group_by("party", "zone", "used").aggregate(n=counted.n.sum())
    place = ibis.row_number().over(group_by=use.party, order_by=[use.n.desc(), use.zone, use.used])
    ranked = use.mutate(place=place)
    return ranked.filter(ranked.place == 0).select("party", "zone", "used").order_by("party")


def no_idle_hours(counted: ir.Table) -> ir.Table:
    """No idle hours: in how many hours of the UTC day each party asks.

    Formula: an hour counts in which the party made a hundredth of its requests or more. Columns
    `party`, `n` (its requests), `hours`.

    Catches: accounts that a program works through the night. Looks the same: every integration
    that serves customers, batch jobs, a team over several time zones; so strangers of the same zone
    and product are what it is held against, by how many hours so many even requests would reach
    (`hours_beside_even`). Evaded by pausing at night, or by asking little from each account.
    """
    hours = counted.group_by("party", "hour").aggregate(n=counted.n.sum())
    whole = counted.group_by("party").aggregate(asked=counted.n.sum())
    active = hours.inner_join(whole, "party")
    active = active.filter(active.n * IDLE_ONE_IN >= active.asked)
    found = active.group_by("party").aggregate(n=active.asked.max(), hours=active.count())
    return found.order_by("party")


def output_appetite(counted: ir.Table) -> ir.Table:
    """Output appetite: how much each party has written for it.

    Formula: completion tokens a request, and the share of requests that reach the limit they asked
    for. Columns `party`, `answered`, `written`, `limited`, `at_limit`.

    Catches: who wants long answers, to train on them. Looks the same: writers, translators, batch
    jobs of synthetic data, a low limit that is always reached. Evaded by short answers.
    """
    names = ("answered", "written", "limited", "at_limit")
    found = counted.group_by("party").aggregate({name: counted[name].sum() for name in names})
    return found.order_by("party")


def pivot(counted: ir.Table) -> ir.Table:
    """Pivot to a new model: which part of each party's last requests go to models that are new.

    Formula: of the requests of the store's last `RECENT_DAYS` days, those to models that were first
    asked for in its last `NEW_DAYS` days, and not on its first day. Columns `party`, `late`,
    `moved`.

    Catches: accounts that turn to a new model together, as soon as it is there. Looks the same:
    everybody at a launch, each client whose model is an alias. So it is held against strangers of
    the same days, describes only, and says nothing alone. Evaded by staying, or by moving slowly.
    """
    late, moved = counted.late.sum(), counted.moved.sum()
    return counted.group_by("party").aggregate(late=late, moved=moved).order_by("party")


def sampled(traffic: Traffic, shares: pa.Table, name: str) -> ir.Table:
    """Return prompts of some parties, kept as `name`: of each so many as it is to be sampled by.

    `shares` has `party` and `kept`, its share times `SPREAD`. A request is in the sample by its row
    in the log alone, whatever it asks. Columns `party`, `number`, `prompt_hash`, `prompt_sketch`.
    """
    requests = traffic.requests.filter(traffic.requests.prompt_sketch.notnull())
    rows = requests.select("party", "number", "row", "prompt_hash", "prompt_sketch")
    joined = rows.inner_join(traffic.engine.named(f"{name}_shares", shares), "party")
    kept = joined.filter((joined.row % _ROWS) * _ODD % SPREAD < joined.kept)
    return traffic.engine.kept(name, kept.drop("kept", "row"))


def coverage_growth(prompts: ir.Table) -> ir.Table:
    """Coverage growth: which prompts the parties asked, of those that were `sampled`.

    Formula: Good-Turing's estimate f1 / n of the chance that a group's next request is a prompt
    that it has not asked, at one number of requests for every group (`unseen_mass`). Columns
    `party`, `prompt_hash`.

    Catches, where it is larger: work that is dealt out from one list, so that nobody asks what
    another one did; where it is smaller: a list that all go through. Looks the same: people, who
    all ask new things; a suite or a course. So both sides count. Evaded by repeating, or by a word
    more in each prompt.
    """
    return prompts.select("party", "number", "prompt_hash").order_by("party", "number")


def window_shift(prompts: ir.Table, each: int) -> ir.Table:
    """Window shift: how a group's prompts in the store's days differ from those of strangers.

    Formula: the unbiased squared MMD between mean prompts of parties, with the share of equal slots
    of sketches as kernel (`shift_of_groups`), of up to `each` of those that were `sampled`.
    Columns `party`, `prompt_sketch`.

    Catches: a group that asks for something else than its zone and product does. Looks the same:
    every trade of its own, a course, a harness; and a group that templates chose is unlike others
    by that choice alone. Evaded by ordinary requests in between.
    """
    place = ibis.row_number().over(group_by=prompts.party, order_by=prompts.number)
    ranked = prompts.mutate(place=place)
    few = ranked.filter(ranked.place < each)
    return few.select("party", "number", "prompt_sketch").order_by("party", "number")


def _count(holds: ir.BooleanValue) -> ir.IntegerScalar:
    return holds.fill_null(False).cast("int64").sum()
