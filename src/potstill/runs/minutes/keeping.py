"""A run by the clock: planned at its start, planned again before each stage, ended in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from potstill.errors import PotstillError
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.recipe import OnPolicyConfig
from potstill.runs.checking import check_all
from potstill.runs.collecting import planned_prompts
from potstill.runs.minutes.choose import amounts_at, choose, least_seconds
from potstill.runs.minutes.clock import Stopwatch, Ticking, TimeLog
from potstill.runs.minutes.fields import (
    CALIBRATION,
    CANDIDATES,
    EPOCHS,
    STEPS,
    VALIDATE,
    chosen_values,
    given_of,
    open_fields,
    with_chosen,
    without_stated,
)
from potstill.runs.minutes.measuring import asked_of_server, measured_rates, rates_now
from potstill.runs.minutes.pace import ClockedPace, DrawTimes, RecordedPace
from potstill.runs.minutes.predict import Rates, RunSizes, drawing, measuring, predict
from potstill.runs.minutes.probes import ProbedStudent
from potstill.runs.minutes.sizing import collected_sizes, known_length, planned_texts, run_sizes
from potstill.runs.minutes.telling import replanned_rows, rows_of, table
from potstill.runs.order import training_begun
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.work.access import Server
from potstill.work.plan import PromptPlan
from potstill.work.records import Checked, Prompts, Unasked
from potstill.work.run_recipe import RECIPE, recipe_digest
from potstill.work.time_plan import Leg, TimePlan, TimeSpent

# Share of the minutes that is planned up to the end of evaluation. The report, the manifest and
# what measurements were out by have the rest.
PLANNED_SHARE = 0.95
# What is chosen before each stage, of the fields that minutes decide about.
_CHOSEN_BEFORE = {
    "shrink": (CALIBRATION, CANDIDATES, EPOCHS, STEPS, VALIDATE),
    "train": (EPOCHS, STEPS, VALIDATE),
}


@dataclass(frozen=True)
class Clock:
    """Since when a run's minutes count, and whether they are foretold where it has none.

    `earlier` seconds went by before the call. `replay` is the plan that is followed instead.
    """

    earlier: float = 0.0
    foretell: bool = False
    replay: TimePlan | None = None

    def keeper(self, parts: Parts) -> TimeKeeper | None:
        """Return what keeps a run within its minutes; None for one that has none."""
        if parts.recipe.minutes is None and not self.foretell and self.replay is None:
            return None
        spent = parts.run.done(TimeSpent)
        # Later calls go on from what is noted of the earlier ones.
        watch = Stopwatch(self.earlier + (0.0 if spent is None else spent.seconds))
        log = TimeLog(parts.run, watch)
        parts.progress = Ticking(parts.progress, log)
        return TimeKeeper(parts, watch, log, self.replay)


class TimeKeeper:
    """Keeps a run within its minutes; without minutes it only foretells what the recipe takes.

    With `replay` nothing is measured and no clock is asked: the run does what that plan says.
    """

    def __init__(
        self, parts: Parts, watch: Stopwatch, log: TimeLog, replay: TimePlan | None = None
    ) -> None:
        self._parts, self._watch, self._log, self._replay = parts, watch, log, replay

    def begin(self) -> None:
        """Check the recipe, and plan; or go on by the plan that an earlier call has made.

        Raises PotstillError where the minutes are too few.
        """
        run, known = self._parts.run, self._parts.run.done(TimePlan)
        if self._replay is not None:
            if known is None:
                undone = tuple(r.model_copy(update={"taken": None}) for r in self._replay.stages)
                again = {"replayed": True, "stages": undone, "minutes": None}
                run.finish(self._replay.model_copy(update=again))
            check_all(self._parts)
        elif known is not None and (known.minutes is None) == (self._minutes is None):
            # A field that the recipe states by now is no longer the clock's.
            taken_over = without_stated(known, self._parts.recipe)
            if taken_over != known or known.minutes != self._minutes:
                run.finish(taken_over.model_copy(update={"minutes": self._minutes}))
            check_all(self._parts)
        else:
            self._plan_anew()
        self._log.note(now=True)

    def before(self, stage: str) -> None:
        """Plan what is left anew, before a stage is done."""
        plan = self._plan
        if stage == "train" and plan.replayed:
            self._parts.pace = RecordedPace(plan.legs) if plan.legs else None
        if plan.replayed or self._minutes is None or stage not in _CHOSEN_BEFORE:
            return
        _, prompts = planned_texts(self._parts, self._known_plan())
        rates = rates_now(Rates.of(plan.rates), self._parts, prompts, self._parts.recipe)
        sizes = collected_sizes(self._parts, RunSizes.of(plan.sizes))
        if not training_begun(self._parts.run.root):
            self._replan(stage, rates, sizes)
        if stage == "train" and STEPS in self._plan.chosen:
            self._parts.pace = self._clocked(rates, sizes)

    def after(self, stage: str, seconds: float) -> None:
        """Note what a stage took."""
        plan = self._plan
        rows = tuple(
            r.model_copy(update={"taken": seconds}) if r.stage == stage else r for r in plan.stages
        )
        plan = plan.model_copy(update={"stages": rows})
        if stage == "train" and plan.legs and STEPS in plan.chosen and not plan.replayed:
            chosen = {**plan.chosen, STEPS: plan.legs[-1].total}
            self._take(plan.model_copy(update={"chosen": chosen}))
        else:
            self._parts.run.finish(plan)
        self._log.note(now=True)

    def end(self) -> None:
        """Note the time at the end of a call, or before the report lists every file."""
        self._log.end()

    @property
    def _minutes(self) -> float | None:
        return self._parts.recipe.minutes

    @property
    def _allowed(self) -> float:
        """Seconds that a run may have used when evaluation ends."""
        return math.inf if self._minutes is None else 60 * PLANNED_SHARE * self._minutes

    @property
    def _plan(self) -> TimePlan:
        plan = self._parts.run.done(TimePlan)
        assert plan is not None
        return plan

    def _known_plan(self) -> PromptPlan | None:
        return self._parts.plan if self._parts.run.has(Prompts) else None

    def _plan_anew(self) -> None:
        parts, run = self._parts, self._parts.run
        if not run.holds_nothing:
            if self._minutes is None:
                check_all(parts)
                return
            raise PotstillError(
                f"{run.root} was begun without minutes, and its answers are as many as its recipe "
                "says; go on without minutes, choose another directory with --out, or start over "
                "with --fresh"
            )
        # Nothing is checked twice, and the check is where a student is cut to be measured.
        run.forget_record(Checked)
        found: list[tuple[Rates, RunSizes]] = []

        def tried(
            student: LoadedModel, vocabulary: VocabularyMap | None, cut: Cut, seconds: float
        ) -> None:
            plan = self._known_plan()
            available, prompts = planned_texts(parts, plan)
            one = ProbedStudent(parts.opened.parent, student, vocabulary, cut, seconds)
            with parts.progress.step("measure this machine"):
                rates = measured_rates(parts, one, prompts, known_length(parts, plan))
            found.append((rates, run_sizes(parts, available, prompts, cut, rates)))

        check_all(parts, tried=tried)
        rates, sizes = found[0]
        author, planned = parts.access.author, self._known_plan()
        if isinstance(author, Server) and planned is not None:
            rates = asked_of_server(parts, author, planned, rates)
        self._settle(rates, sizes)

    def _settle(self, rates: Rates, sizes: RunSizes) -> None:
        """Choose, record, have the prompts planned as chosen, and say so."""
        recipe, before = self._parts.recipe, self._watch.used()
        decided = open_fields(recipe) if self._minutes is not None else ()
        given = given_of(recipe, decided, sizes)
        if self._minutes is None:
            amounts = amounts_at(0.0, sizes, given)
        else:
            self._refuse_too_few(before + least_seconds(rates, sizes, given), sizes)
            amounts = choose(self._allowed - before, rates, sizes, given)
        seconds = predict(rates, sizes, amounts)
        plan = TimePlan(
            minutes=self._minutes,
            chosen=chosen_values(amounts, decided, sizes),
            estimate=before + seconds.total,
            stages=rows_of(amounts, sizes, seconds),
            rates=rates.record(),
            sizes=sizes.record(),
        )
        if decided:
            # Planned again with their limit, unless a kill comes between: then all is planned anew.
            self._parts.run.forget_record(Prompts)
            self._parts.run.forget_record(Unasked)
        self._take(plan)
        planned_prompts(self._parts)
        for line in self._told(plan, before):
            self._parts.progress.note(line)

    def _refuse_too_few(self, least: float, sizes: RunSizes) -> None:
        if least <= self._allowed:
            return
        minutes = math.ceil(10 * least / 60 / PLANNED_SHARE) / 10
        raise PotstillError(
            f"{self._minutes:g} minutes are too few here for {sizes.held_out} held-out prompts, "
            "which the intervals need, what the recipe states and a training at all: the least is "
            f"{minutes:g}; give as many, for example --minutes {minutes:g}"
        )

    def _told(self, plan: TimePlan, before: float) -> list[str]:
        minutes = plan.minutes
        title = (
            "foretold from what this machine was measured to take:"
            if minutes is None
            else f"plan for {minutes:g} minutes, from what this machine was measured to take:"
        )
        return table(title, plan.stages, before=before, whole=plan.estimate)

    def _replan(self, stage: str, rates: Rates, sizes: RunSizes) -> None:
        """Choose anew what a stage and those after it do, with the time that is left."""
        plan, recipe = self._plan, self._parts.recipe
        fields = [f for f in _CHOSEN_BEFORE[stage] if f in plan.chosen]
        given = replace(
            given_of(recipe, fields, sizes),
            prompts=sizes.available,
            samples=1,
            greedy=recipe.evaluate.greedy,
        )
        done = predict(rates, sizes, amounts_at(0.0, sizes, given))
        behind = done.collect + (done.shrink if stage == "train" else 0.0)
        left = self._allowed - self._watch.used()
        amounts = choose(left + behind, rates, sizes, given)
        chosen = chosen_values(amounts, fields, sizes)
        seconds = predict(rates, sizes, amounts)
        rows = replanned_rows(plan.stages, amounts, sizes, seconds)
        update = {"chosen": {**plan.chosen, **chosen}, "stages": rows}
        self._take(plan.model_copy(update=update))
        over = seconds.total - behind - left
        if over > 1:
            self._parts.progress.note(
                f"{over / 60:.1f} minutes are lacking for the least that is left to do, which is "
                "done all the same"
            )
        if chosen:
            said = [r for r in rows if r.taken is None]
            words = "; ".join(f"{r.stage} {r.amount} ({r.predicted / 60:.1f} min)" for r in said)
            used = self._watch.used() / 60
            self._parts.progress.note(f"planned anew after {used:.1f} minutes: {words}")

    def _clocked(self, rates: Rates, sizes: RunSizes) -> ClockedPace:
        """Return what ends the training in time for the evaluation."""
        parts, plan, begun = self._parts, self._plan, self._watch.used()
        given = replace(given_of(parts.recipe, (), sizes), prompts=sizes.available, samples=1)
        after = predict(rates, sizes, amounts_at(0.0, sizes, given)).evaluate

        def left(slower: float) -> float:
            whole = self._allowed - slower * after - begun
            return whole / sizes.trainings - (self._watch.used() - begun)

        def keep(legs: tuple[Leg, ...]) -> None:
            if len(legs) > 1:
                parts.progress.note(
                    f"train: ends after {legs[-1].total} steps in place of {legs[-2].total}, by "
                    "the time that is left"
                )
            parts.run.finish(self._plan.model_copy(update={"legs": legs}))

        steps = [entry["step"] for entry in parts.run.metrics() if "student" not in entry]
        return ClockedPace(
            int(plan.chosen[STEPS] or 1),
            left=left,
            keep=keep,
            validate_every=parts.recipe.train.validate_every,
            measured=measuring(rates, sizes),
            recorded=plan.legs,
            reached=max(steps, default=0),
            draws=_draws(rates, sizes, parts.recipe.train.on_policy),
        )

    def _take(self, plan: TimePlan) -> None:
        """Record a plan, and have the stages see the recipe as it says."""
        parts, before = self._parts, recipe_digest(self._parts.recipe)
        parts.run.finish(plan)
        recipe = with_chosen(parts.recipe, plan)
        parts.recipe = parts.run.config = recipe
        RECIPE.write(parts.run.root, recipe)
        checked = parts.run.done(Checked)
        if checked is not None and checked.recipe == before:
            # What the clock decides needs no other files or models.
            parts.run.finish(checked.model_copy(update={"recipe": recipe_digest(recipe)}))


def _draws(rates: Rates, sizes: RunSizes, own: OnPolicyConfig | None) -> DrawTimes | None:
    if own is None:
        return None
    seconds = own.refresh_every * drawing(rates, sizes)
    return DrawTimes(seconds, own.refresh_every / own.share, own.stored_first)
