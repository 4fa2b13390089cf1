"""The page of a verdict: complete, in its order, safe whatever suspects are called."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import bundles
import pytest

from html_tags import Tags
from potstill.report.frame import MOST_BYTES
from potstill.report.verdict.notice import notice_markdown, notice_page
from potstill.report.verdict.page import verdict_page
from potstill.trace.timestamps import Stamp
from potstill.trace.verdict import ControlFigure, Verdict

HOSTILE = '</style><script>alert(1)</script><img src=x onerror="a"> [x](javascript:1) `*_\x00\ud800'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bundles.Trace:
    return bundles.finished(tmp_path_factory.mktemp("traces") / "one", marked=0.9)


def controls(*names: str) -> tuple[ControlFigure, ...]:
    return tuple(
        ControlFigure(
            test="watermark-text",
            configuration="2026-12",
            name=name,
            effect=0.5 + at / 100,
            low=0.45,
            high=0.6,
        )
        for at, name in enumerate(names)
    )


def shown(made: bundles.Trace, **fields: object) -> str:
    return verdict_page(made.fixed, made.verdict.model_copy(update=fields))


def test_the_page_goes_from_the_claim_to_the_replay(made: bundles.Trace) -> None:
    text = shown(made)
    places = [
        text.index(heading)
        for heading in (
            'class="headline"',
            'id="tested"',
            'id="results"',
            'id="controls"',
            'id="explanations"',
            'id="custody"',
            'id="replay"',
        )
    ]
    assert places == sorted(places)
    parsed = Tags(text)
    assert set(parsed.links) == {"#main", "data:,"}
    assert "script" not in parsed.tags
    for said in (
        made.verdict.headline,
        made.verdict.strength,
        made.verdict.order_of_events,
        made.fixed.digest,
        "potstill trace verify BUNDLE --key KEY",
        "What else could explain it",
        "No control was asked beside the suspect.",
    ):
        assert said in parsed.text
    assert "default-src &#39;none&#39;" in text


def test_what_was_not_detected_names_its_limit(tmp_path: Path) -> None:
    made = bundles.finished(tmp_path / "one")
    parsed = Tags(verdict_page(made.fixed, made.verdict))
    assert "Not detected" in parsed.text
    assert "What would have been found" in parsed.text
    assert made.verdict.limits[0] in parsed.text
    assert "accuses nobody" in parsed.text


def test_controls_are_dots_on_the_suspect_s_axis(made: bundles.Trace) -> None:
    text = shown(made, controls=controls("a base", "a sibling"))
    parsed = Tags(text)
    assert parsed.tags.count("svg") == 2  # the brand's and one chart
    assert parsed.tags.count("circle") == 3
    assert "a sibling" in parsed.text and "No control" not in parsed.text


def test_many_controls_stay_small(made: bundles.Trace) -> None:
    text = shown(made, controls=controls(*(f"control {n}" for n in range(100))))
    assert "60 more controls in verdict.json" in text
    assert len(text.encode()) < MOST_BYTES


def test_a_stamp_stands_in_the_custody_table(made: bundles.Trace) -> None:
    stamp = Stamp(
        file="tokens/ab.tsr",
        digest="cd",
        checked=True,
        subject="the plan",
        time=datetime(2026, 12, 1, tzinfo=UTC),
        authority="CN=Somebody",
        root_sha256="ef",
    )
    parsed = Tags(shown(made, stamps=(stamp,)))
    assert "tokens/ab.tsr" in parsed.text and "CN=Somebody" in parsed.text


def hostile(verdict: Verdict) -> Verdict:
    """Return a verdict in which every text that somebody else wrote is hostile."""
    suspect = verdict.suspect.model_copy(update={"name": HOSTILE, "identity": HOSTILE})
    teacher = verdict.teacher.model_copy(update={"name": HOSTILE, "identity": HOSTILE})
    claims = tuple(
        claim.model_copy(update={"sentence": HOSTILE, "configuration": HOSTILE})
        for claim in verdict.claims
    )
    findings = tuple(
        one.model_copy(update={"configuration": HOSTILE, "effect_unit": HOSTILE})
        for one in verdict.findings
    )
    figures = tuple(one.model_copy(update={"configuration": HOSTILE}) for one in controls(HOSTILE))
    return verdict.model_copy(
        update={
            "suspect": suspect,
            "teacher": teacher,
            "claims": claims,
            "findings": findings,
            "controls": figures,
            "headline": HOSTILE,
            "assumptions": (HOSTILE,),
            "potstill": HOSTILE,
        }
    )


def test_hostile_text_stays_text(made: bundles.Trace) -> None:
    for text in (
        verdict_page(made.fixed, hostile(made.verdict)),
        notice_page(hostile(made.verdict)),
    ):
        parsed = Tags(text)
        assert "script" not in parsed.tags and "img" not in parsed.tags
        assert set(parsed.links) <= {"#main", "data:,"}
        assert "<script>alert(1)</script>" in parsed.text
        text.encode()


def test_the_notice_says_claim_strength_doubt_and_check(made: bundles.Trace) -> None:
    markdown, page = notice_markdown(made.verdict), Tags(notice_page(made.verdict))
    for heading in (
        "What is claimed",
        "How strong that is",
        "Who and when",
        "What else could explain it",
        "What a reader has to grant",
        "What would have been found",
        "How to check it",
    ):
        assert f"## {heading}\n" in markdown
        assert heading in page.text
    assert made.verdict.headline in page.text
    assert "not the probability that anybody is innocent" in markdown
    assert markdown.count("potstill trace verify") == 2
    assert "1% likely before" in markdown


def test_no_name_is_markup_in_the_notice(made: bundles.Trace) -> None:
    markdown = notice_markdown(hostile(made.verdict))
    outside = markdown.partition("```")[0]
    assert "<script>" not in outside.replace("\\<", "")
    assert "[x](" not in outside.replace("\\[", "").replace("\\]", "")


def test_clusters_stand_beside_the_number_of_prompts(made: bundles.Trace) -> None:
    (found, *others) = made.verdict.findings
    clustered = found.model_copy(update={"clusters": 57})
    assert "in 57 clusters" in Tags(shown(made, findings=(clustered, *others))).text
    assert "cluster" not in Tags(shown(made)).text
