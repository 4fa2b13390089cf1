"""The pages of a bundle say what its verdict says, also where the chain was written anew."""

from __future__ import annotations

import json
from pathlib import Path

import bundles
import pytest

from potstill.canonical import canonical_json
from potstill.errors import PotstillError
from potstill.report.verdict.pages import check_pages, verdict_pages
from potstill.trace.chain import custody_digest
from potstill.trace.verify import checks_of

PAGES = ("report.html", "notice.md", "notice.html")


@pytest.fixture
def made(tmp_path: Path) -> bundles.Trace:
    found = bundles.finished(tmp_path / "one", marked=0.9)
    for name, content in verdict_pages(found.fixed, found.verdict):
        (found.bundle / name).write_bytes(content)
    return found


def noted_anew(bundle: Path, name: str) -> None:
    """Have the chain's last record note a file as it is now, as whoever holds the chain can."""
    *first, last = (bundle / "chain.jsonl").read_bytes().splitlines()
    record = json.loads(last)
    record["content"]["files"][name] = custody_digest((bundle / name).read_bytes())
    (bundle / "chain.jsonl").write_bytes(b"\n".join([*first, canonical_json(record), b""]))


def test_pages_as_they_were_made_hold(made: bundles.Trace) -> None:
    assert check_pages(made.bundle, made.fixed, made.verdict, "0").state == "holds"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_says_something_else_is_named(made: bundles.Trace, name: str) -> None:
    path = made.bundle / name
    path.write_bytes(path.read_bytes().replace(b"their model", b"somebody"))
    noted_anew(made.bundle, name)
    assert {check.what for check in checks_of(made.bundle)} >= {"files", "verdict"}
    with pytest.raises(PotstillError, match=f"^{name} does not say what verdict.json says"):
        check_pages(made.bundle, made.fixed, made.verdict, "0")


def test_pages_that_cannot_be_compared_are_said(made: bundles.Trace) -> None:
    other = check_pages(made.bundle, made.fixed, made.verdict, "1")
    assert other.state == "not checked" and "potstill 0 made them" in other.detail
    (made.bundle / "notice.md").unlink()
    gone = check_pages(made.bundle, made.fixed, made.verdict, "0")
    assert gone.state == "not checked" and gone.detail == "notice.md is not in the bundle"
