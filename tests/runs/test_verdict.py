"""A trace of nano models, from its settings to its verdict; resumed, and refused when edited."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import authority
import pytest
import traced_runs
from traced_runs import clean_models, config_of, prepared, texts_suspect

from potstill.errors import PotstillError
from potstill.recipe.trace import TraceConfig
from potstill.runs.verdict import disclose_key, plan_trace, preview_trace, run_trace
from potstill.trace.chain import read_chain
from potstill.trace.marked_texts import read_texts
from potstill.trace.plan import read_plan
from potstill.trace.registry import Disclosed
from potstill.trace.tried import KeyRetired, events_of, teacher_origin
from potstill.trace.verify import Trust, checks_of
from potstill.watermark.keys import EpochKey, read_key

READING = {"watermark_reading": {"texts": "marked.jsonl", "positions": 600}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, nano_llama: Path) -> Path:
    return prepared(tmp_path_factory.mktemp("trace"), nano_llama)


@pytest.fixture
def here(files: Path, tmp_path: Path) -> Path:
    """A folder of its own, with its own chain."""
    return Path(shutil.copytree(files, tmp_path / "files"))


def traced(config: TraceConfig, root: Path) -> Any:
    plan_trace(config, root)
    return run_trace(root)


def states(bundle: Path, **disclosed: Any) -> dict[str, str]:
    found = checks_of(bundle, Trust(Disclosed(**disclosed)))
    return {check.what: check.state for check in found}


def test_a_suspect_that_writes_the_mark_is_accused(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect=texts_suspect(here, "marked"),
        tests={"watermark_text": {"least_answers": 1}},
    )
    verdict = traced(config, here / "run")
    assert verdict.accused and verdict.claims[0].outcome == "found"
    assert verdict.headline.startswith("The training data of their model held text that carries")
    assert {p.name for p in (here / "run" / "bundle").iterdir()} == {
        "plan.json",
        "chain.jsonl",
        "raw",
        "verdict.json",
        "report.html",
        "notice.md",
        "notice.html",
    }
    assert (
        states(here / "run" / "bundle", key=traced_runs.KEY)["scores of watermark-text (2026-12)"]
        == "holds"
    )


def test_the_same_texts_unmarked_accuse_nobody(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect=texts_suspect(here, "plain"),
        tests={"watermark_text": {"least_answers": 1}},
    )
    verdict = traced(config, here / "run")
    assert not verdict.accused and "Not detected" in verdict.headline


def test_a_copy_is_derived_weights_and_never_trained_on_outputs(
    here: Path, nano_llama: Path
) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect={"name": "a copy", "model": str(nano_llama)},
        controls=clean_models(here, nano_llama, 1),
        tests={
            "watermark_reading": {
                **READING["watermark_reading"],
                "texts": str(here / "plain.jsonl"),
            },
            "weights": {},
            "agreement": {"longest": 8},
        },
    )
    root = here / "run"
    verdict = traced(config, root)
    outcomes = {claim.test: claim.outcome for claim in verdict.claims}
    assert outcomes["weights"] == "found" and outcomes["watermark-reading"] == "not found"
    # So few prompts that its agreement with itself says nothing.
    assert outcomes["agreement"] == "void"
    assert not verdict.accused
    assert "derived weights" in verdict.headline
    assert "Nothing was found that says that a copy was trained on outputs" in verdict.headline
    # A control went through the reading beside the suspect.
    assert [(c.test, c.name) for c in verdict.controls] == [("watermark-reading", "clean-0")]
    texts = read_texts(root / "own" / "marked-0.jsonl")
    found = states(root / "bundle", key=traced_runs.KEY, texts={"2026-12": texts})
    assert found["scores of watermark-reading (2026-12)"] == "holds"
    without = states(root / "bundle", key=traced_runs.KEY)
    assert without["scores of watermark-reading (2026-12)"] == "not checked"


def test_nothing_of_the_owner_s_is_in_the_bundle(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect={"name": "m", "model": str(nano_llama)},
        tests={
            "watermark_reading": {"texts": str(here / "marked.jsonl"), "positions": 50},
        },
    )
    root = here / "run"
    traced(config, root)
    secret = traced_runs.KEY.secret.hex()
    chain_secret = (here / "our.chain.jsonl.secret").read_text().strip()
    salt = read_texts(root / "own" / "marked-0.jsonl")[0].salt
    for path in (root / "bundle").rglob("*"):
        if path.is_file():
            content = path.read_text()
            assert secret not in content and chain_secret not in content and salt not in content
            assert str(here) not in content and str(nano_llama) not in content


def test_a_finished_run_asks_nothing_again(
    here: Path, nano_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect=texts_suspect(here, "plain"),
        tests={"watermark_text": {}},
    )
    first = traced(config, here / "run")
    chain = (here / "our.chain.jsonl").read_bytes()
    monkeypatch.setattr("potstill.runs.trace_asking.GATHERERS", {})
    assert run_trace(here / "run") == first
    assert not plan_trace(config, here / "run").new
    assert (here / "our.chain.jsonl").read_bytes() == chain


def test_a_token_after_the_run_makes_the_verdict_anew_and_asks_nothing(
    here: Path, nano_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rfc3161_client")
    if authority.OPENSSL is None:
        pytest.skip("openssl makes the replies")
    config = config_of(
        here, nano_llama, suspect=texts_suspect(here, "plain"), tests={"watermark_text": {}}
    )
    root = here / "run"
    assert "owner's word" in traced(config, root).order_of_events
    own = authority.made(here / "authority")
    (here / "t.tsr").write_bytes(own.reply((root / "bundle" / "plan.json").read_bytes()))
    monkeypatch.setattr("potstill.runs.trace_asking.GATHERERS", {})
    certificates = (own.folder / "root.pem",)
    verdict = run_trace(root, tokens=(here / "t.tsr",), authorities=certificates)
    assert "The plan was seen by CN=Test authority" in verdict.order_of_events
    assert states(root / "bundle")[verdict.stamps[0].file] == "holds"


# Its fourth item is written, and half of the fifth.
KILLED = """
import os, signal, sys
from pathlib import Path
from potstill.runs.verdict import run_trace
from potstill.trace.chain import Chain

taken = Chain.append

def dying(self, content):
    link = taken(self, content)
    if link.number == 3 and "raw" in str(self.path):
        with self.path.open("ab") as file:
            file.write(b'{"content":{"half')
        os.kill(os.getpid(), signal.SIGKILL)
    return link

Chain.append = dying
run_trace(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect={"name": "m", "model": str(nano_llama)},
        tests={"watermark_reading": {"texts": str(here / "marked.jsonl"), "positions": 300}},
    )
    root = here / "run"
    plan_trace(config, root)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL
    kept = (root / "bundle" / "raw" / "watermark-reading-0.jsonl").read_bytes()
    verdict = run_trace(root)
    log = (root / "bundle" / "raw" / "watermark-reading-0.jsonl").read_bytes()
    assert log.startswith(kept[: kept.rfind(b"\n") + 1])
    assert verdict.logs[0].records == len(log.splitlines())
    assert states(root / "bundle")["files"] == "holds"


def test_a_plan_edited_before_the_run_is_refused(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here, nano_llama, suspect=texts_suspect(here, "plain"), tests={"watermark_text": {}}
    )
    plan_trace(config, here / "run")
    path = here / "run" / "bundle" / "plan.json"
    path.write_bytes(path.read_bytes().replace(b'"alpha":0.0001', b'"alpha":0.05'))
    with pytest.raises(PotstillError, match="was edited after it was fixed"):
        run_trace(here / "run")


def test_what_changed_since_the_plan_is_refused(
    here: Path, nano_llama: Path, nano_qwen3: Path
) -> None:
    weights = config_of(
        here, nano_llama, suspect={"name": "m", "model": str(here / "m")}, tests={"weights": {}}
    )
    shutil.copytree(nano_llama, here / "m")
    plan_trace(weights, here / "weights")
    shutil.rmtree(here / "m")
    shutil.copytree(nano_qwen3, here / "m")
    with pytest.raises(PotstillError, match="the suspect is not the one of the plan"):
        run_trace(here / "weights")
    texts = config_of(
        here,
        nano_llama,
        name="two",
        suspect=texts_suspect(here, "plain"),
        tests={"watermark_text": {}},
    )
    plan_trace(texts, here / "texts")
    shutil.copy(here / "suspect-marked.jsonl", here / "suspect-plain.jsonl")
    with pytest.raises(PotstillError, match="is not the one of the plan"):
        run_trace(here / "texts")


def test_a_suspect_that_cannot_give_what_a_test_needs_is_refused_first(
    here: Path, nano_llama: Path
) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect=texts_suspect(here, "plain"),
        tests={"watermark_reading": {"texts": str(here / "marked.jsonl"), "positions": 50}},
    )
    with pytest.raises(PotstillError, match="test watermark-reading needs"):
        plan_trace(config, here / "run")
    assert not (here / "our.chain.jsonl").exists()


def test_every_plan_counts_and_makes_the_next_one_stricter(here: Path, nano_llama: Path) -> None:
    for number in range(3):
        config = config_of(
            here,
            nano_llama,
            name=f"t{number}",
            suspect={**texts_suspect(here, "plain"), "name": f"suspect {number % 2}"},
            tests={"watermark_text": {}},
        )
        verdict = traced(config, here / f"run-{number}")
        assert verdict.tried.plans == number
        assert verdict.claims[0].times == (number + 1) * (number + 2)
    assert verdict.tried.suspects == 2
    # Whom else was tested, the chain does not tell.
    assert b"suspect 1" not in (here / "run-2" / "bundle" / "chain.jsonl").read_bytes()


def test_a_preview_tells_questions_and_power_and_fixes_nothing(
    here: Path, nano_llama: Path
) -> None:
    config = config_of(
        here,
        nano_llama,
        suspect={"name": "m", "model": str(nano_llama)},
        tests={
            "watermark_text": {"samples": 3, "max_tokens": 10},
            "watermark_reading": {"texts": str(here / "marked.jsonl"), "positions": 300},
        },
    )
    told = preview_trace(config)
    assert told[0].startswith("watermark-text: 15 questions, at most ")
    assert "minutes here" in told[0]
    assert told[2].startswith("  chance to find at p ")
    # What each test found in controls, or that none had this mark.
    assert [line.partition(":")[0] for line in told[3:]] == [
        "watermark-text (2026-12)",
        "watermark-reading (2026-12)",
    ]
    assert all("limit" in line or "unknown" in line for line in told[3:])
    assert not (here / "our.chain.jsonl").exists()


def test_a_plan_made_anew_counts_the_old_one(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here, nano_llama, suspect=texts_suspect(here, "plain"), tests={"watermark_text": {}}
    )
    plan_trace(config, here / "run")
    again = plan_trace(config, here / "run", fresh=True)
    assert again.new and again.plan.plan.chain.tried.plans == 1


def test_a_key_of_vllm_s_fixes_no_plan(here: Path, nano_llama: Path) -> None:
    (here / "served.json").write_text('{"algorithm":"gumbel","key":42}')
    config = config_of(
        here,
        nano_llama,
        watermark={"key": str(here / "served.json")},
        suspect=texts_suspect(here, "marked"),
        tests={"watermark_text": {}},
    )
    with pytest.raises(PotstillError, match=r"no mark of vllm-gumbel: .* which 2\^32 keys have"):
        plan_trace(config, here / "run")
    assert not (here / "our.chain.jsonl").exists()


def test_a_key_that_is_disclosed_is_retired(here: Path, nano_llama: Path) -> None:
    config = config_of(
        here, nano_llama, suspect=texts_suspect(here, "marked"), tests={"watermark_text": {}}
    )
    root = here / "run"
    traced(config, root)
    with pytest.raises(PotstillError, match="key of another epoch"):
        disclose_key(root, EpochKey("2026-11", bytes(32)))
    path = disclose_key(root, traced_runs.KEY)
    assert disclose_key(root, traced_runs.KEY) == path
    chain = root / "bundle" / "chain.jsonl"
    teacher = read_plan(root / "bundle" / "plan.json").plan.teacher.identity
    events = events_of(chain, read_chain(chain, teacher_origin(teacher)).links)
    assert [e.key for e in events if isinstance(e, KeyRetired)] == [traced_runs.KEY.key_id]
    key = read_key(path).epoch(None)
    assert states(root / "bundle", key=key)["scores of watermark-text (2026-12)"] == "holds"


def test_a_chain_of_another_teacher_is_refused(
    here: Path, nano_llama: Path, nano_qwen3: Path
) -> None:
    common = {"suspect": texts_suspect(here, "plain"), "tests": {"watermark_text": {}}}
    plan_trace(config_of(here, nano_llama, **common), here / "run")
    other = config_of(here, nano_qwen3, name="two", **common)
    with pytest.raises(PotstillError):
        plan_trace(other, here / "other")


@pytest.mark.parametrize(
    ("tests", "key"),
    [
        ({"watermark_reading": {"texts": "nowhere"}}, "tests.watermark_reading.texts"),
        ({"twins": {"log": "nowhere"}}, "tests.twins.log"),
    ],
)
def test_a_log_that_is_not_there_is_said_by_the_key_that_names_it(
    here: Path, nano_llama: Path, tests: dict[str, Any], key: str
) -> None:
    suspect = {"name": "their model", "model": str(nano_llama)}
    controls = [str(nano_llama)] * 3
    config = config_of(here, nano_llama, suspect=suspect, tests=tests, controls=controls)
    with pytest.raises(PotstillError, match=f"nowhere does not exist; check {key}$"):
        preview_trace(config)


def test_coins_are_told_of_before_a_plan_is_fixed(here: Path, nano_llama: Path) -> None:
    suspect = {"name": "their model", "model": str(nano_llama)}
    said = []
    for positions in (10, 10**6):
        tests = {"watermark_reading": {"texts": str(here / "marked.jsonl"), "positions": positions}}
        config = config_of(here, nano_llama, suspect=suspect, tests=tests)
        said += [line for line in preview_trace(config) if "chance to find" in line]
    assert "coins" not in said[0]
    assert "coins, which stand where no score is left" in said[1]
    assert ": 0% with" in said[1]


def test_three_times_one_control_and_the_suspect_as_its_own_are_refused(
    here: Path, nano_llama: Path
) -> None:
    clean = clean_models(here, nano_llama, 1)
    again = str(shutil.copytree(clean[0], here / "again"))
    tests = {"watermark_reading": {"texts": str(here / "marked.jsonl"), "positions": 50}}
    suspect = {"name": "their model", "model": str(nano_llama)}
    for controls, said in (
        ([*clean, again], "the controls clean-0 and again are one model"),
        ([*clean, str(nano_llama)], "the control llama is the suspect itself"),
    ):
        config = config_of(here, nano_llama, suspect=suspect, controls=controls, tests=tests)
        with pytest.raises(PotstillError, match=said):
            plan_trace(config, here / "run")
    assert not (here / "our.chain.jsonl").exists()


def test_a_budget_that_cannot_suffice_is_told_of_first(here: Path, nano_llama: Path) -> None:
    said = []
    for budget in (10, 10**9):
        server = {"url": "http://127.0.0.1:9/v1", "provider": "p", "budget_tokens": budget}
        suspect = {"name": "their model", "model": "m", "endpoint": server}
        tests = {"watermark_text": {"samples": 3, "max_tokens": 10}}
        said.append(preview_trace(config_of(here, nano_llama, suspect=suspect, tests=tests)))
    (told,) = (line for line in said[0] if "suspect.endpoint.budget_tokens" in line)
    assert told.startswith("that may be more than suspect.endpoint.budget_tokens (10) allows")
    assert said[1] == [line for line in said[0] if line != told]
