"""The reference page of cases, made from their models.

python -m potstill.watch.case.docs > docs/reference/cases.md
"""

from __future__ import annotations

from potstill.watch.case.models import Appeal, Case, CasesOfRun
from potstill.watch.case.scores import SCHEMA, STRENGTHS
from potstill.work.field_docs import described_rows

_HEAD = "| Field | Type | Meaning |\n| --- | --- | --- |\n"
_PAGE = """# Cases, as files

<!-- Made by `make docs` from src/potstill/watch/case/models.py and docs.py. -->

What `potstill watch cases STORE` writes into `STORE/cases`, or where `--out` says
([what it means](../methods/watch-cases.md)). Later versions may add fields under the names of these
schemas; a field that changes its meaning changes the name. Logarithms are to the base 10.

| File | What is in it |
| --- | --- |
| `cases.html`, `cases.json` | the run's cases, ranked, open ones first |
| `CASE/case.html`, `CASE/case.json` | one case |
| `CASE/queries.sql` | all queries of the case, with what they need |
| `CASE/members.parquet`, `CASE/groups.parquet` | its accounts and groups, which queries read |
| `CASE/keys.parquet` | what clients that chose its groups have hard-coded, which queries read |
| `CASE/appeals.jsonl` | what each account may be told, a line for each |
| `CASE/case.stix.json` | a bundle of STIX 2.1; only under `--stix` |
| `scores.parquet` | every score of every group, found or not |
| `strengths.parquet` | how much of what holds each account of each case carries |
| `findings.jsonl` | a Detection Finding of OCSF 1.5.0 for each case, a line for each |
| `templates.parquet` | which group that templates chose each party is in, which queries read |
| `allowed.parquet` | accounts that were left out; only where there are any |

## cases.json

{cases}
## case.json

`facts` and `inference` are kept apart: what the logs say, and what follows.

{case}
## appeals.jsonl

{appeal}
## scores.parquet

A row for each group and signal. The columns: {scores}.

## strengths.parquet

A row for each account of a case and each thing by which it carries what holds, as
`inference.members` has them. The columns: {strengths}.

## findings.jsonl

The case's id is `finding_info.uid`. `activity_id` is 1 (Create) for a case that this run found
first, 2 (Update) for one that was known, 3 (Close) for a closed one, whose `status_id` is 3
(Suppressed). `severity_id` follows the action: 1 for `look`, 2 for `ask`, 3 for `limit`;
`confidence_id` is never above 2 (Medium). `finding_info.attacks` names techniques of MITRE ATLAS
5.5: AML.T0024.002 (Extract AI Model) and AML.T0040 (AI Model Inference API Access) always,
AML.T0008.005 (AI Service Proxies) where accounts share a relay, AML.T0021 (Establish Accounts)
where infrastructure holds. Of accounts 200 are listed, strongest first; how many more there are
stands in `metadata.labels`.

## case.stix.json

A `grouping` (its context is `suspicious-activity`) is the case, a `sighting` stands for each of the
techniques, which are `attack-pattern` objects with MITRE ATLAS' ids as external references.
`confidence` is 15 for `look` and `ask`, 50 for `limit`. A closed case is `revoked`. No account is
in it, nor what somebody wrote about a case. Ids stay from run to run.
"""


def cases_reference() -> str:
    """Return docs/reference/cases.md."""
    return _PAGE.format(
        cases=_HEAD + described_rows(CasesOfRun),
        case=_HEAD + described_rows(Case),
        appeal=_HEAD + described_rows(Appeal),
        scores=", ".join(f"`{name}`" for name in SCHEMA.names),
        strengths=", ".join(f"`{name}`" for name in STRENGTHS.names),
    )


if __name__ == "__main__":
    print(cases_reference(), end="")
