"""Cases: the campaigns of a run with their facts, what follows, and what was decided before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.text.counts import listed, many
from potstill.watch.case import sql
from potstill.watch.case.asking import Asker, script
from potstill.watch.case.carrying import carriers_of, templates_words
from potstill.watch.case.explaining import tested_explanations
from potstill.watch.case.facts import day_words, facts_of
from potstill.watch.case.inferring import e_words, inference_of
from potstill.watch.case.models import Case, CaseHistory, CaseLine, CasesOfRun
from potstill.watch.case.once import read_once
from potstill.watch.case.register import CaseRegister, Named, named_cases
from potstill.watch.case.scores import SCORES_FILE, scores_table, write_table
from potstill.watch.evidence import Campaign, CampaignsFound, unseen_words
from potstill.watch.ingest.store import ACCOUNTS_FILE, TrafficStore
from potstill.watch.schema import Family


@dataclass(frozen=True)
class CaseRun:
    """A run of `find` whose cases are to be written.

    Queries are printed as for `out`; they are asked over `building`, the folder that becomes it.
    """

    store: TrafficStore
    found: CampaignsFound
    named: tuple[Named, ...]
    out: Path
    building: Path
    allowed: tuple[str, ...]
    with_text: bool

    @property
    def statuses(self) -> bool:
        """Whether the store has the status of any request."""
        return "hand-off" not in self.found.off

    def files(self, cases: Path) -> sql.StoreFiles:
        """Return what queries have to know, with the cases in a folder."""
        privacy = self.store.config.privacy
        return sql.StoreFiles(
            store=self.store.root,
            cases=cases,
            accounts=(self.store.root / ACCOUNTS_FILE).is_file(),
            sketches=privacy != "metadata",
            text=privacy == "full",
            allowed=bool(self.allowed),
            templates=bool(self.found.template_of),
        )


def allowed_accounts(store: TrafficStore, register: CaseRegister) -> tuple[str, ...]:
    """Return the accounts that the allow-list names, those of its tenants too."""
    found = set(register.accounts)
    path = store.root / ACCOUNTS_FILE
    if register.tenants and path.is_file():
        rows = pq.read_table(path, columns=["account_id", "tenant"]).to_pylist()
        found |= {row["account_id"] for row in rows if row["tenant"] in register.tenants}
    return tuple(sorted(found))


def named_run(
    found: CampaignsFound, register: CaseRegister
) -> tuple[tuple[Named, ...], CaseRegister]:
    """Return a run's campaigns with their cases' ids, open ones first, and the register then."""
    named, after = named_cases(register, found.campaigns, found.days[-1])
    return tuple(sorted(named, key=lambda one: one.known.closed)), after


def made_cases(run: CaseRun, temporary: Path) -> Iterator[Case]:
    """Yield the cases of a run, ranked, and write the tables that their queries read."""
    if run.allowed:
        rows = pa.table({"account_id": pa.array(run.allowed, pa.string())})
        write_table(run.building / sql.ALLOWED_FILE, rows)
    if run.found.template_of:
        pairs = sorted(run.found.template_of.items())
        rows = pa.table(
            {
                "party": pa.array([party for party, _ in pairs], pa.string()),
                "template": pa.array([template for _, template in pairs], pa.string()),
            }
        )
        write_table(run.building / sql.TEMPLATES_FILE, rows)
    case_ids = {one.campaign.campaign_id: one.case_id for one in run.named}
    write_table(run.building / SCORES_FILE, scores_table(run.found, case_ids))
    if not run.named:
        return
    asked, printed = run.files(run.building), run.files(run.out)
    asker = Asker.fresh(temporary)
    try:
        asker.prepare(sql.prepare_store(asked))
        for one in run.named:
            folder = run.building / one.case_id
            folder.mkdir()
            _write_members(folder, one.campaign)
        ids = [one.case_id for one in run.named]
        once = read_once(asker, ids, asked, with_text=run.with_text)
        for rank, one in enumerate(run.named, 1):
            once.prepare(one.case_id)
            yield _case(run, once.asker, one, rank, printed)
    finally:
        asker.connection.close()


def _case(run: CaseRun, asker: Asker, one: Named, rank: int, printed: sql.StoreFiles) -> Case:
    of_case = sql.prepare_case(one.case_id, sketches=printed.sketches)
    figures, explanations = tested_explanations(
        asker, tuple(run.found.off), one.campaign, sketches=printed.sketches
    )
    facts = facts_of(asker, one.campaign, printed, figures, with_text=run.with_text)
    values = {total.name: total.value for total in facts.totals}
    span = str(values["first request"]), str(values["last request"])
    inference = inference_of(asker, run.found, one.campaign, facts, explanations)
    return Case(
        case_id=one.case_id,
        rank=rank,
        sentence=sentence(one.campaign, span, carriers_of(inference.members, "content")),
        history=history_of(one),
        facts=facts,
        inference=inference,
        unseen=unseen_words(run.found.off, run.found.notes),
        prepare=script([*sql.prepare_store(printed), *of_case]),
    )


def _write_members(folder: Path, campaign: Campaign) -> None:
    accounts = pa.array(campaign.accounts, pa.string())
    write_table(folder / sql.MEMBERS_FILE, pa.table({"account_id": accounts}))
    pairs = [(one.candidate_id, party) for one in campaign.candidates for party in one.parties]
    groups = {
        "candidate_id": pa.array([candidate for candidate, _ in pairs], pa.string()),
        "party": pa.array([party for _, party in pairs], pa.string()),
    }
    write_table(folder / sql.GROUPS_FILE, pa.table(groups))
    keys = [(one.candidate_id, key) for one in campaign.candidates for key in one.keys]
    hard_coded = {
        "candidate_id": pa.array([candidate for candidate, _ in keys], pa.string()),
        "key": pa.array([key for _, key in keys], pa.string()),
    }
    write_table(folder / sql.KEYS_FILE, pa.table(hard_coded))


def sentence(campaign: Campaign, span: tuple[str, str], alike: int) -> str:
    """Return a case in one sentence; it names nobody.

    `span` is its first and last moment, `alike` how many of its accounts carry content.
    """
    first, last = span
    named = listed(family_words(campaign, family, alike) for family in campaign.families)
    held = named or "no family by itself"
    return (
        f"{many(len(campaign.accounts), 'account')} made {many(campaign.requests, 'request')} "
        f"from {day_words(first)} to {day_words(last)}, and strangers would not have made them "
        f"so: {held} hold (e = {e_words(campaign.log10_e)})."
    )


def family_words(campaign: Campaign, family: Family, alike: int) -> str:
    """Return a family with the signal of it that says most, where one says anything.

    Of content that chose the group, which no signal tells: what it is, and how many have it.
    """
    said = [
        (one.log10_e, one.signal)
        for candidate in campaign.candidates
        for one in candidate.signals
        if one.family == family and one.log10_e is not None and one.log10_e > 0
    ]
    names = [max(said)[1]] if said else []
    if family == "content" and (kind := templates_words(campaign)) is not None:
        users = "all" if alike == len(campaign.accounts) else f"{alike:,}"
        names.insert(0, f"{kind}, used by {users} of them")
    return f"{family} ({'; '.join(names)})" if names else family


def history_of(one: Named) -> CaseHistory:
    """Return what is known of a case from earlier runs."""
    return CaseHistory(
        first_found=one.known.first_found,
        new=one.new,
        status="closed" if one.known.closed else "open",
        closed_at=one.known.at,
        closed_because=one.known.because,
        since_closed=one.since_closed,
        after=one.known.after,
    )


def line_of(case: Case) -> CaseLine:
    """Return a case as it stands in the list of a run's."""
    inference = case.inference
    return CaseLine(
        case_id=case.case_id,
        rank=case.rank,
        status=case.history.status,
        new=case.history.new,
        sentence=case.sentence,
        accounts=len(inference.members),
        strong=sum(one.strength == "strong" for one in inference.members),
        requests=int(next(t.value for t in case.facts.totals if t.name == "requests") or 0),
        log10_e=inference.log10_e,
        action=inference.action,
        since_closed=case.history.since_closed,
    )


def cases_of_run(
    run: CaseRun, lines: Sequence[CaseLine], register: CaseRegister, now: datetime, version: str
) -> CasesOfRun:
    """Return all cases of a run; `register` is the one after it."""
    found = run.found
    return CasesOfRun(
        created_at=now.isoformat(timespec="seconds"),
        potstill=version,
        days=found.days,
        requests=found.requests,
        parties=found.parties,
        level=found.level,
        groups_tested=len(found.candidates),
        false_expected=found.false_expected,
        open=sum(line.status == "open" for line in lines),
        cases=tuple(lines),
        not_found=register.open_beside(line.case_id for line in lines),
        allowed=len(run.allowed),
        off=found.off,
        notes=found.notes,
    )
