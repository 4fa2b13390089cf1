"""Shrink as a function: cut from a parent or taken as given, without a run directory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learnt_stores import COMPUTE, corpus_on, past_rows, text_access
from pipeline_runs import Noted
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load, save
from potstill.models.vocabulary import VocabularyMap
from potstill.recipe import ShrinkConfig
from potstill.shrink import stage as module
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.stage import StudentFiles, cut_student, take_student
from potstill.shrink.text_needs import calibration_rows, token_weights
from potstill.work.access import Weights
from potstill.work.corpus import Corpus
from potstill.work.stage_records import CutMeasure, ShrinkRecord


@pytest.fixture
def files(tmp_path: Path) -> StudentFiles:
    return StudentFiles(tmp_path / "untrained", tmp_path / "vocabulary.safetensors")


class Measured:
    """Says of each student that is tried a KL that falls, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[Any, VocabularyMap | None]] = []

    def __call__(self, student: Any, vocabulary: VocabularyMap | None) -> dict[str, float]:
        self.shown.append((student, vocabulary))
        return {"kl": 1 / len(self.shown), "agreement": 0.5}


def weights_in(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(str(directory / "model.safetensors"))


def test_named_blocks_go_and_the_student_is_healed_and_saved(
    corpus: Corpus, files: StudentFiles
) -> None:
    measure, progress = Measured(), Noted()
    config = ShrinkConfig(blocks=(1, 3), calibration_tokens=400)
    made = cut_student(corpus, config, files, measure=measure, progress=progress)
    assert made.cut == Cut(blocks=(1, 3)) and made.vocabulary is None
    assert isinstance(made.record, ShrinkRecord)
    assert made.record.blocks == (1, 3) and made.record.kept_tokens is None
    assert made.record.plain == CutMeasure(kl=1.0, agreement=0.5)
    assert made.record.healed == CutMeasure(kl=0.5, agreement=0.5)
    assert made.record.refitted and made.record.heal == config.heal
    assert made.record.calibration_tokens <= 400
    assert (made.record.seconds, made.record.joules) == (0, None)
    assert progress.notes == [
        "shrink: KL 1.000 and agreement 0.500 cut, 0.500 and 0.500 healed, on validation prompts"
    ]
    # What was measured last is what is saved, in a directory that plain transformers loads.
    kept = load(str(files.directory), precision="fp32")
    assert kept.network.config.num_hidden_layers == 4
    for name, values in made.student.network.state_dict().items():
        assert torch.equal(kept.network.state_dict()[name], values), name
    assert measure.shown[-1][0] is made.student
    assert not files.vocabulary.exists()


def test_a_student_that_is_not_healed_is_said_not_to_be(
    corpus: Corpus, files: StudentFiles
) -> None:
    progress = Noted()
    config = ShrinkConfig(blocks=(2,), heal="none", calibration_tokens=400)
    made = cut_student(corpus, config, files, measure=Measured(), progress=progress)
    assert made.record.refitted == ()
    assert progress.notes[-1].endswith("cut and not healed, on validation prompts")
    plain, _ = pruned(corpus.opened.teacher, Cut(blocks=(2,)))
    for name, values in plain.network.state_dict().items():
        assert torch.equal(made.student.network.state_dict()[name], values), name


def test_a_cut_vocabulary_keeps_what_the_text_needs_and_its_map_is_kept(
    corpus: Corpus, files: StudentFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: list[Any] = []

    def weigh(of: Corpus) -> Any:
        weighed.append(of)
        return token_weights(of)

    monkeypatch.setattr(module, "token_weights", weigh)
    config = ShrinkConfig(vocabulary=400, calibration_tokens=400)
    measure = Measured()
    made = cut_student(corpus, config, files, measure=measure, progress=Noted())
    assert weighed == [corpus]
    vocabulary = VocabularyMap.load(files.vocabulary)
    assert made.vocabulary is not None
    assert torch.equal(vocabulary.teacher_ids_K, made.vocabulary.teacher_ids_K)
    assert made.record.kept_tokens == tuple(vocabulary.teacher_ids_K.tolist())
    assert len(made.record.kept_tokens) == 400
    assert all(shown is not None for _, shown in measure.shown)
    used = {i for ids in corpus.parent_ids("train") for part in ids for i in part}
    gone = used - set(made.record.kept_tokens)
    assert len(gone) < len(used) / 4, "what the text needs stays"


def test_a_whole_vocabulary_is_not_weighed(
    corpus: Corpus, files: StudentFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weigh(of: Corpus) -> Any:
        raise AssertionError("the parent would read all of the text for nothing")

    monkeypatch.setattr(module, "token_weights", weigh)
    config = ShrinkConfig(blocks=(2,), calibration_tokens=256)
    cut_student(corpus, config, files, measure=Measured(), progress=Noted())


def test_a_search_tries_cuts_and_records_them(corpus: Corpus, files: StudentFiles) -> None:
    config = ShrinkConfig(drop_layers=1, candidates=2, calibration_tokens=400)
    made = cut_student(corpus, config, files, measure=Measured(), progress=Noted())
    assert len(made.record.trials) >= 2
    assert sum(trial.taken for trial in made.record.trials) == 1
    (taken,) = (trial.blocks for trial in made.record.trials if trial.taken)
    assert made.cut.blocks == taken == made.record.blocks


def test_the_cut_comes_back_from_its_record(corpus: Corpus, files: StudentFiles) -> None:
    config = ShrinkConfig(
        blocks=(2,), vocabulary=400, ffn_channels=64, kv_heads=1, calibration_tokens=400
    )
    made = cut_student(corpus, config, files, measure=Measured(), progress=Noted())
    read = ShrinkRecord.from_json(made.record.model_dump_json().encode())
    assert Cut.of(read) == made.cut
    assert made.cut.channels is not None and made.cut.kv_heads is not None
    again, _ = pruned(corpus.opened.teacher, Cut.of(read))
    assert again.network.config.num_hidden_layers == 5


def test_what_cannot_be_cut_is_refused_and_nothing_is_saved(
    corpus: Corpus, files: StudentFiles
) -> None:
    config = ShrinkConfig(blocks=(17,), calibration_tokens=256)
    with pytest.raises(PotstillError):
        cut_student(corpus, config, files, measure=Measured(), progress=Noted())
    assert not files.directory.exists()


def test_a_parent_of_text_alone_is_cut_on_that_text(
    nano_qwen3: Path, tmp_path: Path, files: StudentFiles
) -> None:
    store = ExchangeStore(tmp_path / "store")
    store.append(past_rows())
    corpus = corpus_on(store, text_access(nano_qwen3), "past")
    config = ShrinkConfig(blocks=(2,), calibration_tokens=256)
    made = cut_student(corpus, config, files, measure=Measured(), progress=Noted())
    rows = corpus.parent_ids("train")
    assert calibration_rows(corpus, 10_000) == [prompt + response for prompt, response in rows]
    assert made.record.calibration_tokens <= 300
    assert load(str(files.directory), precision="fp32").network.config.num_hidden_layers == 3
    # Its own states, since nobody stored any.
    weight_V = token_weights(corpus)
    used = {i for ids in rows for part in ids for i in part}
    assert all(float(weight_V[i]) >= 1 for i in used)
    store.close()


def test_a_given_student_is_saved_as_it_is(nano_qwen3: Path, files: StudentFiles) -> None:
    met: list[str] = []
    record = take_student(Weights(str(nano_qwen3)), COMPUTE, None, files, met=met.append)
    assert record.blocks is None and record.plain is None
    assert met == [load(str(nano_qwen3), precision="fp32").identity]
    assert weights_in(files.directory).keys() == weights_in(nano_qwen3).keys()
    for name, values in weights_in(nano_qwen3).items():
        assert torch.equal(weights_in(files.directory)[name], values), name


def test_a_student_that_changed_since_it_was_checked_is_refused(
    nano_qwen3: Path, files: StudentFiles
) -> None:
    def refuse(identity: str) -> None:
        raise PotstillError("student.model has changed")

    with pytest.raises(PotstillError, match="has changed"):
        take_student(Weights(str(nano_qwen3)), COMPUTE, None, files, met=refuse)
    assert not files.directory.exists()


def test_a_student_that_learns_distributions_speaks_as_its_teacher(
    nano_llama: Path, tmp_path: Path, files: StudentFiles
) -> None:
    own = tmp_path / "own"
    shutil.copytree(nano_llama, own)
    cut, _ = pruned(load(str(own), precision="fp32"), Cut(blocks=(1,)))
    save(cut, own)
    template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    (own / "chat_template.jinja").write_text(template)
    teacher = load(str(nano_llama), precision="fp32")
    take_student(Weights(str(own)), COMPUTE, lambda: teacher, files, met=lambda found: None)
    kept = load(str(files.directory), precision="fp32")
    assert kept.tokenizer.chat_template == teacher.tokenizer.chat_template
    assert kept.network.config.num_hidden_layers == 5
    # By text alone it speaks as it always did.
    take_student(Weights(str(own)), COMPUTE, None, files, met=lambda found: None)
    kept = load(str(files.directory), precision="fp32")
    assert kept.tokenizer.chat_template == template
