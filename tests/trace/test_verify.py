"""A bundle that holds is said to hold; whatever was done to one is said, by record or file."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import authority
import bundles
import pytest
from bundles import KEY, Trace

from potstill.canonical import canonical_json
from potstill.errors import PotstillError
from potstill.trace import keeping, timestamps
from potstill.trace.bundle import add_tokens, opened_bundle
from potstill.trace.chain import custody_digest, read_chain
from potstill.trace.findings import open_log
from potstill.trace.marks_in_text import MarksInTextPlanned
from potstill.trace.plan import PLAN_FILE, raw_name
from potstill.trace.registry import Disclosed
from potstill.trace.tried import teacher_origin
from potstill.trace.verify import Trust, checks_of
from potstill.watermark.keys import EpochKey
from potstill.work.check_result import CheckResult
from potstill.work.order_secret import new_secret

RAW = "raw/watermark-text-0.jsonl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return bundles.finished(tmp_path_factory.mktemp("traces") / "one", marked=0.9)


@pytest.fixture
def copy(made: Trace, tmp_path: Path) -> Trace:
    shutil.copytree(made.bundle, tmp_path / "elsewhere")
    return replace(made, bundle=tmp_path / "elsewhere")


def checked(bundle: Path, trust: Trust | None = None) -> dict[str, CheckResult]:
    return {check.what: check for check in checks_of(bundle, trust)}


def refusal(bundle: Path, trust: Trust | None = None) -> str:
    with pytest.raises(PotstillError) as caught:
        checked(bundle, trust)
    return str(caught.value)


def change(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def rewritten(bundle: Path, **fields: object) -> None:
    """Write other values into a verdict, spelt as potstill spells it."""
    path = bundle / "verdict.json"
    path.write_bytes(canonical_json({**json.loads(path.read_bytes()), **fields}))


def test_a_bundle_holds_on_another_path(copy: Trace) -> None:
    found = checked(copy.bundle)
    assert [what for what, check in found.items() if check.state == "holds"] == [
        "plan",
        "chain of plans",
        RAW,
        "arithmetic",
        "verdict",
        "files",
    ]
    assert found["scores of the marks"].state == "not checked"
    assert "owner's word" in found["order of events"].detail


def test_with_the_key_every_score_is_made_again(copy: Trace) -> None:
    found = checked(copy.bundle, Trust(Disclosed(key=KEY)))
    assert found["scores of watermark-text (2026-12)"].state == "holds"


def test_a_score_that_the_key_does_not_give_is_named(tmp_path: Path) -> None:
    # Whoever makes a bundle can store what scores he likes, and chain them.
    begun = bundles.fixed(tmp_path / "one")
    log = keeping_log(begun)
    (test,) = begun.fixed.plan.planned
    items = bundles.answers(test, marked=0)  # type: ignore[arg-type]
    forged = [item.model_copy(update={"scores": (1.0,) * len(item.scores)}) for item in items]
    log.extend([item.model_dump(mode="json") for item in forged])
    keeping.write_verdict(begun.bundle, begun.fixed, bundles.WHEN, "0")
    chain = keeping.open_chain(begun.chain, bundles.TEACHER.identity, bundles.WHEN)
    keeping.close_bundle(begun.bundle, chain, begun.fixed, bundles.WHEN)
    checked(begun.bundle)  # nothing shows without the key
    said = refusal(begun.bundle, Trust(Disclosed(key=KEY)))
    assert "record 0 of the raw log has a score that the key does not give" in said
    assert RAW in said


def keeping_log(trace: Trace):  # type: ignore[no-untyped-def]
    from potstill.trace.findings import open_log

    return open_log(trace.bundle, trace.fixed, RAW)


def test_the_key_of_another_epoch_is_refused(copy: Trace) -> None:
    said = refusal(copy.bundle, Trust(Disclosed(key=EpochKey("2026-11", bytes(32)))))
    assert "this is the key of another epoch" in said and KEY.key_id in said


@pytest.mark.parametrize("number", [0, 3, 8])
def test_a_tampered_record_is_named(copy: Trace, number: int) -> None:
    path = copy.bundle / RAW
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"answered"', b'"refused!"')
    path.write_bytes(b"".join(lines))
    assert f"record {number} of" in refusal(copy.bundle)


def test_the_last_record_too(copy: Trace) -> None:
    path = copy.bundle / RAW
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"answered"', b'"refused!"')
    path.write_bytes(b"".join(lines))
    assert f"record {len(lines) - 1} of" in refusal(copy.bundle)


def test_records_missing_at_the_end_are_named(copy: Trace) -> None:
    path = copy.bundle / RAW
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    assert "record 8 is missing" in refusal(copy.bundle)


def test_a_raw_log_that_is_away_is_named(copy: Trace) -> None:
    (copy.bundle / RAW).unlink()
    assert "record 0 is missing" in refusal(copy.bundle)


def test_a_plan_edited_after_the_run_is_refused(copy: Trace) -> None:
    change(copy.bundle / PLAN_FILE, b'"samples":5', b'"samples":4')
    assert "it was edited after the run" in refusal(copy.bundle)


def test_a_plan_spelt_otherwise_was_edited(copy: Trace) -> None:
    path = copy.bundle / PLAN_FILE
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    assert "was edited" in refusal(copy.bundle)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"accused": False}, "accused"),
        ({"headline": "Nothing."}, "headline"),
        ({"alpha": 0.5}, "alpha"),
        ({"order_of_events": "All was fixed long ago."}, "order_of_events"),
    ],
)
def test_a_verdict_that_does_not_follow_is_refused(
    copy: Trace, fields: dict[str, object], named: str
) -> None:
    rewritten(copy.bundle, **fields)
    assert f"does not follow from the plan and its findings (its {named})" in refusal(copy.bundle)


def test_a_finding_that_does_not_follow_is_refused(copy: Trace) -> None:
    (finding,) = json.loads((copy.bundle / "verdict.json").read_bytes())["findings"]
    rewritten(copy.bundle, findings=[{**finding, "log10_p": finding["log10_p"] - 5}])
    said = refusal(copy.bundle)
    assert "does not come to what verdict.json says (its log10_p)" in said


@pytest.mark.parametrize("times", [0, 2])
def test_findings_taken_out_or_added_are_refused(copy: Trace, times: int) -> None:
    findings = json.loads((copy.bundle / "verdict.json").read_bytes())["findings"]
    rewritten(copy.bundle, findings=findings * times)
    assert "verdict.json holds other findings than the plan has" in refusal(copy.bundle)


def test_a_chain_that_was_not_copied_is_said_to_be_away(copy: Trace) -> None:
    (copy.bundle / "chain.jsonl").unlink()
    assert "chain.jsonl does not exist in the bundle; get" in refusal(copy.bundle)


def test_a_verdict_that_is_no_file_is_not_called_unfinished(copy: Trace) -> None:
    (copy.bundle / "verdict.json").unlink()
    assert "or get the whole bundle" in refusal(copy.bundle)
    (copy.bundle / "verdict.json").mkdir()
    said = refusal(copy.bundle)
    assert "is a directory in the bundle; get" in said and "come to a verdict" not in said


def test_a_verdict_spelt_otherwise_is_a_changed_file(copy: Trace) -> None:
    path = copy.bundle / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    assert "verdict.json is not as the run left it" in refusal(copy.bundle)


def test_a_chain_cut_at_its_end_is_said(copy: Trace) -> None:
    path = copy.bundle / "chain.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert "no record of this plan's run after record 1" in refusal(copy.bundle)


def test_a_chain_s_tampered_record_is_named(copy: Trace) -> None:
    change(copy.bundle / "chain.jsonl", b'"proof":1', b'"proof":0')
    assert "record 1 of" in refusal(copy.bundle)


def test_a_chain_without_the_plan_is_refused(copy: Trace, tmp_path: Path) -> None:
    other = bundles.finished(tmp_path / "other" / "one")
    shutil.copy(other.bundle / "chain.jsonl", copy.bundle / "chain.jsonl")
    # Both were made at the same moment of the same facts: only their place differs.
    keeping.open_chain(other.chain, bundles.TEACHER.identity, bundles.WHEN)
    again = bundles.finished(tmp_path / "other" / "two", marked=0.5, name="two")
    shutil.copy(again.bundle / PLAN_FILE, copy.bundle / PLAN_FILE)
    assert "edited after the run" in refusal(copy.bundle)


def test_earlier_plans_cannot_be_left_out(tmp_path: Path) -> None:
    bundles.finished(tmp_path / "one", name="one")
    second = bundles.finished(tmp_path / "two", name="two")
    assert second.fixed.plan.chain.tried.plans == 1
    held = checked(second.bundle)
    assert "1 plan, 1 suspect" in held["chain of plans"].detail
    # A chain that was written anew, without the first plan.
    clean = keeping.open_chain(tmp_path / "clean.jsonl", bundles.TEACHER.identity, bundles.WHEN)
    clean.extend(
        [
            link.content
            for link in keeping.open_chain(
                second.chain, bundles.TEACHER.identity, bundles.WHEN
            ).links[-2:]
        ]
    )
    shutil.copy(tmp_path / "clean.jsonl", second.bundle / "chain.jsonl")
    assert "is not where the plan says that it stands" in refusal(second.bundle)


@pytest.mark.parametrize("field", ["logs", "stamps"])
def test_no_file_outside_the_bundle_is_read(copy: Trace, field: str) -> None:
    named = {
        "logs": {"file": "../../outside", "records": 1, "head": "x"},
        "stamps": {"file": "../../outside", "digest": "x", "checked": False},
    }
    rewritten(copy.bundle, **{field: [named[field]]})
    said = refusal(copy.bundle)
    assert "names other raw logs" in said or "does not follow" in said


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["plan.json", "chain.jsonl", RAW, "more"])
def test_a_link_in_a_bundle_is_refused(copy: Trace, name: str) -> None:
    (copy.bundle / name).unlink(missing_ok=True)
    (copy.bundle / name).symlink_to(os.devnull)
    assert f"{name} in the bundle is no plain file" in refusal(copy.bundle)


def test_a_name_that_could_pass_for_a_line_is_refused(copy: Trace) -> None:
    (copy.bundle / "a\nverdict: it holds").write_text("")
    said = refusal(copy.bundle)
    assert "take it out" in said and "\n" not in said


def test_a_folder_named_like_a_token_is_none(copy: Trace) -> None:
    for name in ("a.pem", "a.tsr"):
        (copy.bundle / "tokens" / name).mkdir(parents=True)
    assert checked(copy.bundle)["order of events"].state == "not checked"


def test_a_link_to_a_folder_is_refused_by_its_name(copy: Trace, tmp_path: Path) -> None:
    shutil.move(copy.bundle / "raw", tmp_path / "raw")
    (copy.bundle / "raw").symlink_to(tmp_path / "raw")
    assert "raw in the bundle is a link to a folder" in refusal(copy.bundle)


def test_a_secret_that_no_test_is_about_is_refused(copy: Trace) -> None:
    said = refusal(copy.bundle, Trust(Disclosed(secret=new_secret())))
    assert "no test of the plan is about a training's order" in said


def test_what_is_no_certificate_is_not_put_into_a_bundle(copy: Trace, tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("hello")
    with pytest.raises(PotstillError, match=r"a\.pem holds no certificates"):
        add_tokens(copy.bundle, copy.fixed, [], [tmp_path / "a.pem"])
    assert not (copy.bundle / "tokens").exists()


def test_a_file_that_was_added_is_said_and_not_checked(copy: Trace) -> None:
    (copy.bundle / "more.txt").write_text("hello")
    assert checked(copy.bundle)["more.txt"].state == "not checked"


def test_a_bundle_that_never_came_to_a_verdict_is_refused(tmp_path: Path) -> None:
    assert "has not come to a verdict" in refusal(bundles.fixed(tmp_path / "one").bundle)


def test_a_zip_is_opened_and_a_trace_s_folder_is_found(copy: Trace, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for path in copy.bundle.rglob("*"):
            archive.write(path, Path("inside") / path.relative_to(copy.bundle))
    with opened_bundle(tmp_path / "b.zip") as folder:
        assert checked(folder)["files"].state == "holds"
    (tmp_path / "trace").mkdir()
    copy.bundle.rename(tmp_path / "trace" / "bundle")
    with opened_bundle(tmp_path / "trace") as folder:
        assert folder == tmp_path / "trace" / "bundle"


@pytest.mark.parametrize("names", [("plan.json", "plan.json/x"), ("a" * 300 + "/plan.json",)])
def test_a_zip_of_names_that_cannot_be_files_is_to_blame(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    said = r"b\.zip holds names that cannot be files here"
    with pytest.raises(PotstillError, match=said), opened_bundle(tmp_path / "b.zip"):
        pass


def test_what_does_not_open_or_never_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / ("x" * 300), "its name is longer"),
        (tmp_path / "pipe", "is no plain file; give a bundle's folder"),
    ):
        with pytest.raises(PotstillError, match=said), opened_bundle(path):
            pass

    # Whoever runs the tests may read everything.
    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refused)
    said = r"cannot be read \(permission denied\); give a bundle's folder"
    with pytest.raises(PotstillError, match=said), opened_bundle(tmp_path):
        pass


@pytest.mark.parametrize("what", ["empty folder", "no zip", "zip of nothing", "nothing"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "empty folder":
        path.mkdir()
    elif what == "no zip":
        path.write_text("hello")
    elif what == "zip of nothing":
        zipfile.ZipFile(path, "w").close()
    with pytest.raises(PotstillError), opened_bundle(path):
        pass


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    pytest.importorskip("rfc3161_client")
    return authority.made(tmp_path_factory.mktemp("authority"))


@pytest.mark.skipif(authority.OPENSSL is None, reason="openssl makes the replies")
class TestTimestamps:
    @pytest.fixture
    def stamped(self, own: authority.Authority, tmp_path: Path) -> Trace:
        begun = bundles.fixed(tmp_path / "one")
        token = own.reply((begun.bundle / PLAN_FILE).read_bytes())
        return bundles.stamped(begun, own, token)

    def test_a_token_dates_the_plan(self, stamped: Trace) -> None:
        (stamp,) = stamped.verdict.stamps
        assert stamp.checked and stamp.subject == "the plan"
        assert "The plan was seen by CN=Test authority by " in stamped.verdict.order_of_events
        assert "owner's word" not in stamped.verdict.order_of_events
        assert checked(stamped.bundle)[stamp.file].state == "holds"

    def test_a_verifier_s_own_certificates_count(self, stamped: Trace, tmp_path: Path) -> None:
        other = authority.made(tmp_path / "other")
        said = refusal(stamped.bundle, Trust(certificates=[other.certificates]))
        assert "does not hold under the certificates" in said

    def test_without_the_package_a_token_is_not_checked(
        self, stamped: Trace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr("potstill.extras.import_module", missing)
        assert not timestamps.can_check()
        (stamp,) = stamped.verdict.stamps
        found = checked(stamped.bundle)[stamp.file]
        assert found.state == "not checked" and found.detail.startswith("token not checked")

    def test_a_timestamp_of_another_digest_is_not_taken(
        self, own: authority.Authority, tmp_path: Path
    ) -> None:
        begun = bundles.fixed(tmp_path / "one")
        (tmp_path / "t.tsr").write_bytes(own.reply(b"another plan"))
        (tmp_path / "a.pem").write_bytes(own.certificates)
        with pytest.raises(PotstillError, match="timestamp of another digest"):
            add_tokens(begun.bundle, begun.fixed, [tmp_path / "t.tsr"], [tmp_path / "a.pem"])
        assert not (begun.bundle / "tokens").exists()


def test_a_digest_is_that_of_the_bytes(made: Trace) -> None:
    assert made.fixed.digest == custody_digest((made.bundle / PLAN_FILE).read_bytes())


def test_runs_that_end_in_each_others_time_leave_one_whole_chain(tmp_path: Path) -> None:
    begun = [bundles.fixed(tmp_path / name) for name in ("one", "two")]
    # Each has read the chain before the other adds to it, as two long runs at once do.
    chains = [keeping.open_chain(b.chain, bundles.TEACHER.identity, bundles.WHEN) for b in begun]
    for one, chain in zip(begun, chains, strict=True):
        planned = one.fixed.plan.planned[0]
        assert isinstance(planned, MarksInTextPlanned)
        log = open_log(one.bundle, one.fixed, raw_name(planned.test, 0))
        log.extend([item.model_dump(mode="json") for item in bundles.answers(planned, marked=0.0)])
        keeping.write_verdict(one.bundle, one.fixed, bundles.WHEN, "0")
        keeping.close_bundle(one.bundle, chain, one.fixed, bundles.WHEN)
    for one in begun:
        assert {c.state for c in checks_of(one.bundle) if c.what == "chain of plans"} == {"holds"}
    whole = read_chain(begun[0].chain, teacher_origin(bundles.TEACHER.identity))
    assert [link.number for link in whole.links] == [0, 1, 2, 3, 4]
