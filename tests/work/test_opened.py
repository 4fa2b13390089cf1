"""Models are loaded when they are asked for: once, after the gate, and as they were met first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from learnt_stores import CALLS, COMPUTE, Answered, text_access
from opened_models import permitted
from pipeline_runs import Noted
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.conversation.fingerprint import fingerprint_of
from potstill.models.load import head_of, load
from potstill.progress import Silent
from potstill.recipe import EndpointConfig
from potstill.work.access import Access, Server, Weights
from potstill.work.opened import Compute, Opened


class Loads(list[str]):
    """The models that were loaded, in order."""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    found, plain = Loads(), Compute.load

    def counted(self: Compute, who: Weights, **options: Any) -> Any:
        found.append(who.model)
        return plain(self, who, **options)

    monkeypatch.setattr(Compute, "load", counted)
    return found


def to_weights(teacher: Path, student: Path | None = None) -> Access:
    weights = Weights(str(teacher))
    named = None if student is None else Weights(str(student))
    return Access(weights, weights, weights, named)


def opened(
    access: Access, store: ExchangeStore, identity: str | None = None, **more: Any
) -> Opened:
    given: dict[str, Any] = {
        "permit": permitted,
        "met": lambda found: None,
        "progress": Silent(),
        **more,
    }
    return Opened(access, COMPUTE, store, identity=identity, **given)


def test_a_teacher_is_loaded_once_and_met_once(
    nano_llama: Path, store: ExchangeStore, loads: Loads
) -> None:
    met: list[str] = []
    models = opened(to_weights(nano_llama), store, met=met.append)
    assert loads == []
    assert models.teacher is models.teacher is models.parent
    assert loads == [str(nano_llama)] and met == [models.teacher.identity]
    models.release()
    assert models.teacher.identity == met[0]
    # It is loaded anew, and no news.
    assert len(loads) == 2 and len(met) == 1


def test_nothing_is_loaded_where_the_gate_refuses(
    nano_llama: Path, store: ExchangeStore, loads: Loads
) -> None:
    def refuse() -> None:
        raise PotstillError("not allowed")

    models = opened(to_weights(nano_llama), store, permit=refuse)
    for _ in range(2):
        with pytest.raises(PotstillError, match="not allowed"):
            _ = models.parent
    assert loads == []


def test_another_teacher_under_the_same_name_is_refused(
    nano_llama: Path, store: ExchangeStore
) -> None:
    met: list[str] = []
    models = opened(to_weights(nano_llama), store, "another", met=met.append)
    with pytest.raises(PotstillError, match=r"is another one than this run began with .*--fresh"):
        _ = models.teacher
    assert met == []


def test_a_student_s_parent_is_its_own_where_there_are_no_weights(
    nano_llama: Path, nano_qwen3: Path, store: ExchangeStore, loads: Loads
) -> None:
    """What answers came under is not asked: nobody is asked anything."""

    def refuse() -> None:
        raise PotstillError("asked")

    models = opened(text_access(nano_qwen3), store, permit=refuse)
    assert models.parent is models.parent
    assert loads == [str(nano_qwen3)]
    head, expected = models.parent_head, head_of(models.parent)
    assert torch.equal(head.weight_VD, expected.weight_VD)
    models.release()
    _ = models.parent
    assert len(loads) == 2
    assert fingerprint_of(models.conversation) == fingerprint_of(models.parent.conversation)


def test_a_stored_head_stands_for_a_teacher_that_is_not_loaded(
    stored: Answered, loads: Loads
) -> None:
    store = ExchangeStore(stored.root)
    access = Access.of(stored.recipe)
    models = opened(access, store, stored.identity)
    head = models.parent_head
    assert loads == [] and head is models.parent_head
    assert torch.equal(head.weight_VD, head_of(models.teacher).weight_VD)
    # A loaded teacher's own is in the dtype that it computes in.
    assert models.parent_head is not head
    models.release()
    assert models.parent_head is head
    store.close()


def test_without_a_stored_head_the_teacher_is_loaded_for_it(
    nano_llama: Path, store: ExchangeStore, stored: Answered, loads: Loads
) -> None:
    for identity in (None, stored.identity):
        models = opened(to_weights(nano_llama), store, identity)
        assert torch.equal(models.parent_head.weight_VD, head_of(models.teacher).weight_VD)
    assert len(loads) == 2


def test_the_context_is_that_of_what_the_student_is_made_from(
    nano_llama: Path, nano_qwen3: Path, tmp_path: Path, store: ExchangeStore
) -> None:
    shutil.copytree(nano_llama, tmp_path / "short")
    config = tmp_path / "short" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 77}))
    short = tmp_path / "short"
    assert opened(to_weights(short), store).context == 77
    assert opened(to_weights(nano_llama, short), store).context == 77
    assert opened(text_access(short), store).context == 77
    assert opened(to_weights(short, nano_llama), store).context != 77


def test_a_server_s_tokens_are_the_parent_s_where_its_targets_are_kept(
    nano_llama: Path, nano_qwen3: Path, store: ExchangeStore
) -> None:
    config = EndpointConfig(url="http://127.0.0.1:9/v1", provider="local")
    student = Weights(str(nano_qwen3))
    for tells in (False, True):
        server = Server("m", config, tells)
        models = opened(Access(server, server if tells else None, student, student), store)
        tokens = models.served_tokens
        assert (tokens is not None) == tells
        if tokens is not None:
            loaded = load(str(nano_qwen3), precision="fp32")
            assert tokens.tokenizer_id == loaded.tokenizer_id
    assert opened(text_access(nano_llama), store).served_tokens is None
    assert opened(to_weights(nano_llama), store).served_tokens is None


def test_a_model_is_loaded_as_the_run_computes(nano_llama: Path, tmp_path: Path) -> None:
    dated = tmp_path / "dated"
    shutil.copytree(nano_llama, dated)
    path = dated / "chat_template.jinja"
    path.write_text("{{ strftime_now('%Y-%m-%d') }}{{ brief }}" + path.read_text())
    who = Weights(str(dated), template_arguments={"brief": "shortly"})
    message = ({"role": "user", "content": "Hello"},)
    for day in ("2026-01-31", "2025-12-24"):
        compute = Compute("cpu", "bf16", day)
        model = compute.load(who)
        assert model.compute_dtype == compute.dtype == torch.bfloat16
        for spoken in (model.conversation, compute.conversation(who)):
            text = spoken.prompt_text(message)
            assert day in text and "shortly" in text
    assert Compute("cpu", "fp32", "2026-01-31").dtype == torch.float32
    assert COMPUTE.device == torch.device("cpu")


def test_what_is_loaded_is_shown(nano_llama: Path, nano_qwen3: Path, store: ExchangeStore) -> None:
    steps: list[str] = []

    class Shown(Noted):
        def step(self, name: str, total: float | None = None, unit: str = "") -> Any:
            steps.append(name)
            return super().step(name, total, unit)

    _ = opened(to_weights(nano_llama), store, progress=Shown()).parent
    _ = opened(text_access(nano_qwen3, CALLS), store, progress=Shown()).parent
    assert steps == ["load teacher", "load the student's parent"]


def test_a_student_is_loaded_from_its_directory(
    nano_llama: Path, nano_qwen3: Path, store: ExchangeStore
) -> None:
    models = opened(to_weights(nano_llama), store)
    student = models.student(nano_qwen3)
    assert student.directory == nano_qwen3
    masters = {p.dtype for p in models.student(nano_qwen3, trainable=True).network.parameters()}
    assert masters == {torch.float32}


def test_a_teacher_is_opened_by_the_licence_in_its_files(nano_llama: Path, tmp_path: Path) -> None:
    met: list[str] = []
    store = ExchangeStore(str(tmp_path / "store"))
    opened = Opened(Access.to(Weights(str(nano_llama))), COMPUTE, store, met=met.append)
    assert opened.teacher is opened.parent
    assert met == [opened.teacher.identity]
    bare = Path(shutil.copytree(nano_llama, tmp_path / "bare"))
    (bare / "README.md").unlink()
    with pytest.raises(PotstillError, match="its files state no licence"):
        _ = Opened(Access.to(Weights(str(bare))), COMPUTE, store).teacher
    allowed = Opened(Access.to(Weights(str(bare))), COMPUTE, store, permit=permitted)
    assert allowed.teacher.identity == met[0]
    assert not (tmp_path / "store").exists()
