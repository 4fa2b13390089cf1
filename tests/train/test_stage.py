"""Train as a function: of a student, stored answers and their targets, without a run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from learnt_stores import (
    CALLS,
    PLAN,
    Answered,
    corpus_on,
    past_rows,
    text_access,
    written,
)
from pipeline_runs import Noted
from potstill.errors import PotstillError
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, LikeliestTokens
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import teacher_ids_of
from potstill.progress import Silent
from potstill.recipe import EndpointConfig, OnPolicyConfig, TrainConfig
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.train import stage as module
from potstill.train.stage import Training, train_student
from potstill.work.access import Access, Server, Weights
from potstill.work.corpus import Corpus, tokenised
from potstill.work.opened import Opened
from potstill.work.stage_records import TrainedStudent
from training_inputs import ORDER

TOP = TargetSpec("top-k", 4)
CONFIG = TrainConfig.model_validate(
    {"learning_rate": 3e-4, "batch_tokens": 128, "micro_batch_tokens": 128, "compile": "never"}
)
BY_TEXT = CONFIG.model_copy(update={"cross_entropy": 1.0})


@pytest.fixture
def student(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32", trainable=True)


def training(root: Path, config: TrainConfig = CONFIG, **more: Any) -> Training:
    given: dict[str, Any] = {
        "validate": None,
        "unread": {},
        "log": lambda entry: None,
        "save_beside": lambda directory: None,
        **more,
    }
    return Training(config, 3, ORDER, root / "checkpoints", root / "student", **given)


def trained(
    student: LoadedModel, corpus: Corpus, how: Training, progress: Any = None, **more: Any
) -> TrainedStudent:
    rows = more.pop("rows", None) or corpus.exchanges("train")
    vocabulary = more.pop("vocabulary", None)
    return train_student(student, corpus, rows, vocabulary, how, progress or Silent())


class Spied:
    """What the loop was given, in place of training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.examples: Any = None
        self.options: dict[str, Any] = {}
        self._plain = module.train_steps
        monkeypatch.setattr(module, "train_steps", self._train)

    def _train(self, student: Any, source: Any, **options: Any) -> Any:
        self.examples, self.options = source.examples, options
        return self._plain(student, source, **options)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> Spied:
    return Spied(monkeypatch)


def test_a_student_learns_stored_targets_and_is_saved(
    corpus: Corpus, student: LoadedModel, tmp_path: Path
) -> None:
    logged: list[Mapping[str, Any]] = []

    def beside(directory: Path) -> None:
        assert (directory / "config.json").is_file()
        (directory / "licence.json").write_text("{}")

    how = training(tmp_path, log=logged.append, save_beside=beside, unread={"empty": 2})
    before = student.network.state_dict()["model.norm.weight"].clone()
    found = trained(student, corpus, how)
    assert found.steps == len([entry for entry in logged if "loss" in entry]) > 0
    assert found.scored_again == 0 and found.left_out == 0
    assert found.validation_left_out == {"empty": 2} and found.validated_by is None
    rows = corpus.exchanges("train")
    assert found.lengths == tuple((len(r.ids[0]), len(r.ids[1])) for r in rows)
    # Its own teacher's states at the outset: nothing to learn but rounding.
    assert found.first_loss == pytest.approx(0, abs=1e-3)
    assert (tmp_path / "student" / "licence.json").is_file()
    kept = load(str(tmp_path / "student"), precision="fp32")
    for name, values in student.network.state_dict().items():
        assert torch.equal(kept.network.state_dict()[name], values), name
    assert not torch.equal(kept.network.state_dict()["model.norm.weight"], before)


def test_own_answers_are_learnt_from_beside_stored_ones_and_counted(
    corpus: Corpus, student: LoadedModel, tmp_path: Path
) -> None:
    own = OnPolicyConfig(
        share=1.0, stored_first=0.0, prompts=2, max_tokens=6, refresh_every=1, cut_at_most=1.0
    )
    logged: list[Mapping[str, Any]] = []
    config = CONFIG.model_copy(update={"on_policy": own})
    found = trained(student, corpus, training(tmp_path, config, log=logged.append))
    assert found.on_policy is not None
    assert found.on_policy.steps == found.steps == len(logged)
    assert len(found.on_policy.lengths) == 2 * found.steps
    assert found.response_tokens == sum(response for _, response in found.on_policy.lengths)
    # It writes as its teacher does, to begin with.
    assert logged[0]["loss"] == pytest.approx(0, abs=1e-5)
    assert logged[0]["own_overlap"] > 0.99


def test_the_teacher_is_let_go_of_where_nothing_is_left_to_score(
    corpus: Corpus, student: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[bool] = []
    monkeypatch.setattr(Opened, "release", lambda self: released.append(True))
    trained(student, corpus, training(tmp_path))
    assert released == [True]


@pytest.mark.parametrize(("layers", "reads"), [("last", False), ("blocks", True)])
def test_hidden_states_are_matched_with_a_teacher_in_memory_only_where_it_reads(
    layers: Any, reads: bool, corpus: Corpus, student: LoadedModel, tmp_path: Path, spied: Spied
) -> None:
    config = TrainConfig.model_validate(
        {**CONFIG.model_dump(), "hidden_matching": {"layers": layers, "projection": "learned"}}
    )
    progress = Noted()
    how = training(tmp_path, config, dropped=())
    found = trained(student, corpus, how, progress)
    assert (corpus.opened._teacher is not None) is reads
    record = found.hidden_matching
    assert record is not None and record.last
    assert record.pairs == (tuple((b, b) for b in range(5)) if reads else ())
    assert record.projection_weights == 64 * 64 * (6 if reads else 1)
    # Its own teacher's states at the outset, but for the ridge that the projections begin with.
    assert found.first_hidden == pytest.approx(0, abs=1e-2)
    assert found.last_hidden is not None
    what = "what 5 of its blocks give " if reads else ""
    assert any(f"{what}are matched, through projections" in note for note in progress.notes)
    saved = load(str(tmp_path / "student"), precision="fp32").network.state_dict()
    assert saved.keys() == student.network.state_dict().keys()


def test_what_has_no_targets_is_scored_again(
    stored: Answered, student: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[bool] = []
    monkeypatch.setattr(Opened, "release", lambda self: released.append(True))
    corpus = stored.corpus(tmp_path / "run")
    row = corpus.exchanges("train")[0]
    again = replace(row, exchange_id="zz", sample_index=1)
    corpus.store.append([again])
    corpus = replace(corpus)
    found = trained(student, corpus, training(tmp_path))
    assert found.scored_again == 1 and len(found.lengths) == len(PLAN.train) + 1
    assert found.first_loss == pytest.approx(0, abs=1e-3) and released == []
    corpus.store.close()


def test_text_alone_needs_no_targets(
    corpus: Corpus, student: LoadedModel, tmp_path: Path, spied: Spied
) -> None:
    found = trained(student, corpus, training(tmp_path, BY_TEXT))
    assert spied.options["targets"] is None
    assert found.first_loss is not None and found.first_loss > 0.1
    assert found.scored_again == 0


def test_the_student_kept_is_the_one_that_validated_best(
    corpus: Corpus, student: LoadedModel, tmp_path: Path
) -> None:
    """A student that gets worse with each step is left as it was, and that is said."""
    values = iter(range(100))
    progress = Noted()
    config = CONFIG.model_copy(update={"validate_every": 1})
    how = training(
        tmp_path, config, validate=lambda model: {"kl": float(next(values))}, name="train: mine"
    )
    before = {k: v.clone() for k, v in student.network.state_dict().items()}
    found = trained(student, corpus, how, progress)
    assert found.kept_step == 0 and found.validated_by == "kl"
    assert found.validation_before == found.validation_kept == 0
    (note,) = progress.notes
    assert note.startswith("train: mine: the untrained student is kept, since training did not")
    assert f"0 before training, 0 as kept, {found.validation_last:g} after the last step" in note
    kept = load(str(tmp_path / "student"), precision="fp32").network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in before.items())


def test_a_trimmed_student_learns_in_its_own_tokens(
    corpus: Corpus, tmp_path: Path, nano_llama: Path, spied: Spied
) -> None:
    teacher = load(str(nano_llama), precision="fp32", trainable=True)
    # The last tokens stay, so that each has another number.
    merges = merges_of(teacher.tokenizer)
    kept = choose_tokens(merges, torch.arange(len(teacher.tokenizer)).double(), 400)
    student, vocabulary = pruned(teacher, Cut(kept_tokens=tuple(kept)))
    assert vocabulary is not None
    found = trained(student, corpus, training(tmp_path), vocabulary=vocabulary)
    texts = corpus.texts(corpus.exchanges("train"), student, vocabulary)
    assert [e.response_ids for e in spied.examples] == [t.response_ids for t in texts]
    # What is cut up anew has no stored targets.
    assert found.scored_again == sum(not t.unchanged for t in texts) > 0
    pairs = [
        (teacher_ids_of(vocabulary, e.prompt_ids), teacher_ids_of(vocabulary, e.response_ids))
        for e in spied.examples
    ]
    states = torch.cat(response_hidden(corpus.opened.teacher, pairs))
    learnt = spied.options["targets"].targets(spied.examples)
    torch.testing.assert_close(learnt.hidden_ND.float(), states, atol=2e-2, rtol=1e-2)


def test_what_is_too_long_is_left_out_and_said(
    nano_llama: Path, store: ExchangeStore, student: LoadedModel, tmp_path: Path
) -> None:
    rows = [*past_rows()[:3], written(PLAN.train[3], "one " * 900)]
    corpus = corpus_on(store, text_access(nano_llama), "past")
    progress = Noted()
    found = trained(student, corpus, training(tmp_path, BY_TEXT), progress, rows=rows)
    assert found.left_out == 1 and len(found.lengths) == 3
    assert progress.notes == [
        "train: 1 of 4 answers are left out: longer than what the student reads at once"
    ]


def test_earlier_answers_are_learnt_by_their_text(
    nano_llama: Path, store: ExchangeStore, student: LoadedModel, tmp_path: Path, spied: Spied
) -> None:
    def talk(last: str, *, long: bool = False) -> Any:
        said = "one " * 400 if long else "Yes."
        messages = (
            {"role": "user", "content": "Is it?"},
            {"role": "assistant", "content": said},
            {"role": "user", "content": last},
        )
        return replace(written(PLAN.train[0], "It is."), messages=messages, exchange_id=last)

    # Two talks begin alike.
    rows = [talk("Why?"), talk("How?")]
    corpus = corpus_on(store, text_access(nano_llama), "past")
    progress = Noted()
    config = BY_TEXT.model_copy(update={"turns": "all"})
    found = trained(student, corpus, training(tmp_path, config), progress, rows=rows)
    earlier = [e for e in spied.examples if e.by_text]
    assert len(earlier) == 1 and len(found.lengths) == 3
    assert student.tokenizer.decode(earlier[0].response_ids).startswith("Yes.")
    assert progress.notes[0].startswith("train: 1 earlier answers of talks are learnt by cross-")
    assert found.left_out == 0


def served(directory: Path, rows: list[Any], store: ExchangeStore, count: int) -> Corpus:
    """Return a corpus on a server's answers, of which so many have its likeliest tokens."""
    config = EndpointConfig(url="http://127.0.0.1:9/v1", provider="local")
    server, parent = Server("m", config, True), Weights(str(directory))
    model = load(str(directory), precision="fp32")
    told = []
    for row in rows:
        ids = tokenised(row, model.conversation, "keep").response_ids
        told.append(replace(row, response_token_ids=ids, tokenizer=model.tokenizer_id))
    targets = []
    for row in told[:count]:
        label_R = torch.tensor(row.ids[1])
        # The token of the text and three that are in none: certain of what was written.
        ids_RK = torch.stack([label_R, *(torch.full_like(label_R, 440 + i) for i in range(3))], 1)
        logp_RK = torch.full(ids_RK.shape, -30.0)
        logp_RK[:, 0] = 0.0
        values = LikeliestTokens(ids_RK, logp_RK, torch.full(label_R.shape, -30.0), 448)
        targets.append(ExchangeTargets(row.exchange_id, server.identity, TOP, values))
    store.append(told, targets)
    return corpus_on(store, Access(server, server, parent, parent), "srv", spec=TOP)


def test_own_text_that_nobody_reads_is_refused(
    nano_llama: Path, store: ExchangeStore, student: LoadedModel, tmp_path: Path
) -> None:
    rows = past_rows()
    corpus = served(nano_llama, rows, store, len(rows))
    config = CONFIG.model_copy(update={"on_policy": OnPolicyConfig()})
    with pytest.raises(PotstillError, match="needs somebody who reads what the student writes"):
        trained(student, corpus, training(tmp_path, config))
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("objective", ["forward_kl", "jsd"])
def test_a_server_s_answers_without_targets_teach_by_text_where_that_can_be(
    objective: str,
    nano_llama: Path,
    store: ExchangeStore,
    student: LoadedModel,
    tmp_path: Path,
    spied: Spied,
) -> None:
    corpus = served(nano_llama, past_rows()[:5], store, 3)
    # One that the server's text says and its targets do not.
    config = CONFIG.model_copy(update={"objective": objective})
    progress = Noted()
    found = trained(student, corpus, training(tmp_path, config), progress)
    by_text = objective == "forward_kl"
    assert len(spied.examples) == (5 if by_text else 3)
    assert found.left_out == (0 if by_text else 2) and found.scored_again == 0
    (note,) = progress.notes
    assert note.startswith("train: 2 of 5 answers have no likeliest tokens and ")
    assert ("teach by their text alone" in note) == by_text
    # The parent is not loaded to be a teacher.
    assert spied.options["targets"] is not None


def test_a_server_that_told_nothing_is_refused(
    nano_llama: Path, store: ExchangeStore, student: LoadedModel, tmp_path: Path
) -> None:
    corpus = served(nano_llama, past_rows()[:2], store, 0)
    with pytest.raises(PotstillError, match="none of the 2 answers to train on has the server's"):
        trained(student, corpus, training(tmp_path))
    # Their text can be learnt all the same.
    assert trained(student, corpus, training(tmp_path, BY_TEXT)).left_out == 0


def test_a_stopped_training_goes_on_from_its_checkpoint(
    corpus: Corpus, nano_llama: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"checkpoint_every": 1, "batch_tokens": 64, "epochs": 2.0})
    whole = load(str(nano_llama), precision="fp32", trainable=True)
    expected = trained(whole, corpus, training(tmp_path / "a", config))
    stopped: list[int] = []

    def stop(entry: Mapping[str, Any]) -> None:
        stopped.append(entry["step"])
        if len(stopped) == 2:
            raise KeyboardInterrupt

    student = load(str(nano_llama), precision="fp32", trainable=True)
    with pytest.raises(KeyboardInterrupt):
        trained(student, corpus, training(tmp_path / "b", config, log=stop))
    assert not (tmp_path / "b" / "student").exists()
    student = load(str(nano_llama), precision="fp32", trainable=True)
    logged: list[Any] = []
    found = trained(student, corpus, training(tmp_path / "b", config, log=logged.append))
    assert found.steps == expected.steps and 0 < len(logged) < expected.steps
    for name, values in whole.network.state_dict().items():
        assert torch.equal(student.network.state_dict()[name], values), name


def test_past_calls_are_learnt_in_ids_that_the_run_has_cut(
    nano_llama: Path, store: ExchangeStore, student: LoadedModel, tmp_path: Path
) -> None:
    cut_up: list[str] = []

    def cut(row: Any, spoken: Any, reasoning: Any) -> Any:
        cut_up.append(row.exchange_id)
        return tokenised(row, spoken, reasoning)

    rows = past_rows()[:3]
    corpus = corpus_on(store, text_access(nano_llama, CALLS), "past", cut=cut)
    trained(student, corpus, training(tmp_path, BY_TEXT), rows=rows)
    assert cut_up == [row.exchange_id for row in rows]
    assert json.loads((tmp_path / "student" / "config.json").read_text())["model_type"] == "llama"
