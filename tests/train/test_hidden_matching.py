"""Hidden states are matched as defined: token by token, however a step is cut, and after a kill."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from nano_relatives import without_blocks
from on_policy_runs import case, moved
from safetensors.torch import load_file
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.hidden import hidden_distance
from potstill.losses.targets import DenseTargets
from potstill.losses.teacher import TeacherHead
from potstill.models.inner import watched
from potstill.models.load import blocks_of, body_of, head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of
from potstill.progress import Silent
from potstill.recipe import HiddenMatchingConfig, OnPolicyConfig, TrainConfig
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.train import loop as loop_module
from potstill.train.checkpoint import stored_checkpoints
from potstill.train.examples import TrainingExample
from potstill.train.hidden_matching import HiddenMatching, Widths, matching_of
from potstill.train.loop import train, train_steps
from potstill.train.matched_pairs import LAST, MatchedPair
from potstill.train.teacher_blocks import TeacherBlocks
from training_inputs import ORDER, Scored, examples_of

Row = dict[str, Any]
DROPPED = (2, 3)


def config(matching: dict[str, Any] | None = None, **values: Any) -> TrainConfig:
    plain = {"learning_rate": 1e-3, "batch_tokens": 64, "micro_batch_tokens": 64, "epochs": 1}
    chosen = HiddenMatchingConfig.model_validate(matching or {})
    return TrainConfig(**{**plain, **values}, hidden_matching=chosen)


def cut_student(path: Path, precision: str = "fp32") -> LoadedModel:
    whole = load(str(path), precision=precision, trainable=True)
    return moved(without_blocks(whole, DROPPED))


def matched(
    student: LoadedModel,
    teacher: LoadedModel,
    chosen: TrainConfig,
    dropped: Sequence[int] | None = DROPPED,
    vocabulary: VocabularyMap | None = None,
) -> Any:
    width = head_of(teacher).weight_VD.shape[1]
    return matching_of(student, chosen, width, dropped, TeacherBlocks(teacher, vocabulary))


def run(
    path: Path,
    folder: Path,
    chosen: TrainConfig,
    student: LoadedModel | None = None,
    dropped: Sequence[int] | None = DROPPED,
    log: Any = None,
    precision: str = "fp32",
) -> tuple[list[Row], LoadedModel, Any]:
    teacher = load(str(path), precision=precision)
    who = student or cut_student(path, precision)
    matching = matched(who, teacher, chosen, dropped)
    logged: list[Row] = []
    train(
        who,
        examples_of(who),
        config=chosen,
        seed=0,
        order=ORDER,
        targets=Scored(teacher),
        checkpoints=folder,
        validate=None,
        log=log or logged.append,
        progress=Silent(),
        matching=matching,
    )
    return logged, who, matching


def states_of(model: LoadedModel, ids: list[int]) -> list[Tensor]:
    """Return what each block gives and, last, what is behind the last norm, by hand."""
    output = body_of(model.network)(input_ids=torch.tensor([ids]), output_hidden_states=True)
    # transformers' last entry is behind the norm already; the last block's own is not among them.
    inner = [hidden_BTD[0] for hidden_BTD in output.hidden_states[1:-1]]
    return [*inner, torch.empty(0), output.last_hidden_state[0]]


def in_float64(model: LoadedModel) -> LoadedModel:
    return replace(model, network=copy.deepcopy(model.network).double())


def expected_distance(kind: str, mine_D: Tensor, theirs_D: Tensor) -> Tensor:
    if kind == "mse":
        return sum((a - b) ** 2 for a, b in zip(mine_D, theirs_D, strict=True)) / len(mine_D)
    if kind == "cosine":
        return 1 - torch.dot(mine_D, theirs_D) / (mine_D.norm() * theirs_D.norm())
    return ((mine_D - theirs_D) / theirs_D.norm()).pow(2).sum()


def first_step(
    monkeypatch: pytest.MonkeyPatch, path: Path, folder: Path, chosen: TrainConfig, **options: Any
) -> tuple[Row, dict[str, Tensor]]:
    """Return what the first step logged, and its gradient before clipping, by name."""
    plain, found = loop_module._Loop._update, list[dict[str, Tensor]]()

    def update(loop: Any, number: int, loss: float, rate: float) -> float:
        everything = {**dict(loop.network.named_parameters()), **loop.beside}
        found.append({n: p.grad.clone() for n, p in everything.items() if p.grad is not None})
        return plain(loop, number, loss, rate)

    with monkeypatch.context() as patched:
        patched.setattr(loop_module._Loop, "_update", update)
        logged, _, _ = run(path, folder, chosen, **options)
    return logged[0], found[0]


@pytest.mark.parametrize("family", ["llama", "gemma", "neox"])
@pytest.mark.parametrize("kind", ["relative_mse", "mse", "cosine"])
def test_loss_and_gradient_are_those_of_float64(
    kind: str, family: str, nano_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The divergence apart, the step's loss is its definition, token by token, in float64."""
    path = nano_model(family)
    drop = () if family == "neox" else (2,)
    pairs = [[0, 0], [1, 2], "last"]
    chosen = config({"layers": pairs, "distance": kind, "weight": 3.0}, batch_tokens=10_000)
    teacher = load(str(path), precision="fp32")
    student = moved(without_blocks(load(str(path), precision="fp32", trainable=True), drop))
    exact, exact_teacher = in_float64(student), in_float64(teacher)
    logged, gradient = first_step(
        monkeypatch, path, tmp_path / "a", chosen, student=student, dropped=drop
    )
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for example in examples_of(student):
        ids = [*example.prompt_ids, *example.response_ids]
        mine = states_of(exact, ids)
        with torch.no_grad():
            theirs = states_of(exact_teacher, ids)
        for one, other in ((0, 0), (1, 2), (-1, -1)):
            for at in range(len(example.prompt_ids) - 1, len(ids) - 1):
                total = total + expected_distance(kind, mine[one][at], theirs[other][at]) / 3
        tokens += len(example.response_ids)
    expected = total / tokens
    assert logged["hidden_loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
    (3.0 * expected).backward()
    # What the divergence adds is taken off: the same step without any matching.
    alone = config(batch_tokens=10_000).model_copy(update={"hidden_matching": None})
    student = moved(without_blocks(load(str(path), precision="fp32", trainable=True), drop))
    plain, plain_gradient = first_step(
        monkeypatch, path, tmp_path / "b", alone, student=student, dropped=drop
    )
    assert logged["loss"] == pytest.approx(plain["loss"] + 3 * logged["hidden_loss"], rel=1e-5)
    mine_G, wanted_G = [], []
    for name, parameter in exact.network.named_parameters():
        mine_G.append((gradient[name] - plain_gradient[name]).double().flatten())
        added = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        wanted_G.append(added.flatten())
    apart = (torch.cat(mine_G) - torch.cat(wanted_G)).norm() / torch.cat(wanted_G).norm()
    assert float(apart) < 1e-3


@pytest.mark.parametrize(
    ("precision", "more"),
    [
        ("fp32", {"micro_batch_tokens": 1}),
        ("fp32", {"packing": "packed", "micro_batch_tokens": 40}),
        ("fp32", {"gradient_checkpointing": "blocks"}),
        ("fp32", {"gradient_checkpointing": "elementwise"}),
        ("fp32", {"frozen_blocks": 1, "epochs": 2}),
        ("bf16", {}),
    ],
)
def test_how_a_step_is_computed_changes_no_distance(
    precision: str, more: dict[str, Any], nano_gemma: Path, tmp_path: Path
) -> None:
    """Sliding windows, norms behind blocks; what frozen blocks give is kept and laid out anew."""
    chosen = {"layers": [[1, 3], "last"], "projection": "learned"}
    plain = {name: more[name] for name in ("epochs", "frozen_blocks") if name in more}

    def student() -> LoadedModel:
        whole = load(str(nano_gemma), precision=precision, trainable=True)
        return moved(without_blocks(whole, (2,)))

    whole = run(nano_gemma, tmp_path / "a", config(chosen, **plain), student(), (2,))[0]
    other = config(chosen, **more)
    cut = run(nano_gemma, tmp_path / "b", other, student(), (2,), precision=precision)[0]
    within = {"rel": 0.05} if precision == "bf16" else {"rel": 1e-3, "abs": 1e-5}
    found = [entry["hidden_loss"] for entry in cut]
    assert found == pytest.approx([entry["hidden_loss"] for entry in whole], **within)
    if precision == "fp32":
        norms = [entry["grad_norm"] for entry in cut]
        assert norms == pytest.approx([entry["grad_norm"] for entry in whole], rel=2e-3)


def test_adapters_learn_to_match_too(nano_llama: Path, tmp_path: Path) -> None:
    chosen = config({"layers": "blocks"}, lora={"rank": 4}, learning_rate=1e-2, epochs=3)
    logged, student, _ = run(nano_llama, tmp_path, chosen)
    found = [entry["hidden_loss"] for entry in logged]
    assert sum(found[-3:]) < 0.8 * sum(found[:3])
    assert len(blocks_of(student.network)) == 4


@pytest.mark.parametrize("distance", ["relative_mse", "mse", "cosine"])
def test_a_student_that_is_its_teacher_has_no_distance(
    distance: str, nano_llama: Path, tmp_path: Path
) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    chosen = config({"layers": "blocks", "distance": distance}, batch_tokens=10_000)
    logged, _, matching = run(nano_llama, tmp_path, chosen, student, ())
    assert matching.pairs == (*(MatchedPair(b, b) for b in range(5)), LAST)
    assert not matching.projections
    # What is left is that texts were read in other batches.
    assert logged[0]["hidden_loss"] < 1e-9


def test_projections_are_learnt_saved_and_gone_on_with(nano_llama: Path, tmp_path: Path) -> None:
    matching = {"layers": "blocks", "projection": "learned"}
    chosen = config(matching, checkpoint_every=2, epochs=2)
    whole, student, learnt = run(nano_llama, tmp_path / "a", chosen)
    began = matched(student, load(str(nano_llama), precision="fp32"), chosen).learnt
    before: list[Row] = []

    def stop(entry: Row) -> None:
        before.append(entry)
        if entry["step"] == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(nano_llama, tmp_path / "b", chosen, log=stop)
    last = stored_checkpoints(tmp_path / "b")[-1]
    stored = load_file(last / "beside.safetensors")
    names = {f"projection.{pair}" for pair in ("0-0", "1-3", "2-4", "last")}
    assert stored.keys() == learnt.learnt.keys() == names
    after, again, resumed = run(nano_llama, tmp_path / "b", chosen)
    assert after[0]["step"] == 5
    found = [(e["loss"], e["hidden_loss"]) for e in before[:4] + after]
    assert found == [(entry["loss"], entry["hidden_loss"]) for entry in whole]
    for name, projection in resumed.learnt.items():
        assert torch.equal(projection, learnt.learnt[name])
        assert not torch.equal(projection, began[name])
        assert not torch.equal(projection, stored[name])
    assert again.network.state_dict().keys() == student.network.state_dict().keys()
    assert not [name for name in student.network.state_dict() if "projection." in name]
    (stored_checkpoints(tmp_path / "b")[-1] / "beside.safetensors").unlink()
    with pytest.raises(PotstillError, match="damaged"):
        run(nano_llama, tmp_path / "b", chosen)


def test_projections_begin_where_they_map_best(nano_llama: Path, tmp_path: Path) -> None:
    """At least as near as the states themselves: the identity is one of the maps."""
    near = {}
    for projection in ("none", "learned"):
        chosen = config({"layers": [[1, 1], [3, 5]], "projection": projection}, epochs=2)
        near[projection] = run(nano_llama, tmp_path / projection, chosen)[0][0]["hidden_loss"]
    assert near["learned"] < near["none"]


def test_states_of_other_widths_are_mapped_by_least_squares() -> None:
    generator = torch.Generator().manual_seed(3)
    map_ED = torch.randn(5, 3, generator=generator)
    wide = {LAST: Widths(3, 5)}
    matching = HiddenMatching(HiddenMatchingConfig(), wide, projected=True)
    batches = [torch.randn(4, 3, generator=generator) for _ in range(8)]
    read = iter([({LAST: mine}, {LAST: mine @ map_ED.T}) for mine in batches])
    matching.fit(read)
    # 24 rows are enough: the last two batches are left alone.
    assert len(list(read)) == 2
    # A ridge of a thousandth pulls a little towards nothing.
    assert (matching.projections[LAST] - map_ED).norm() < 5e-3 * map_ED.norm()
    with pytest.raises(PotstillError, match=r"3 wide and the teacher's 5.* set it to learned"):
        HiddenMatching(HiddenMatchingConfig(), wide, projected=False)


def test_a_given_student_of_another_width_learns_through_projections(
    nano_llama: Path, tmp_path: Path
) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    small = copy.deepcopy(teacher.network.config)
    small.update({"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = replace(teacher, network=type(teacher.network)(small))
    chosen = config({"layers": "blocks"}, epochs=6, learning_rate=3e-3)
    logged, _, matching = run(nano_llama, tmp_path, chosen, student, None)
    assert [str(pair) for pair in matching.pairs] == ["0-1", "1-3", "last"]
    assert {tuple(found.shape) for found in matching.learnt.values()} == {(64, 32)}
    found = [entry["hidden_loss"] for entry in logged]
    # States of zeros would be at 1.
    assert found[0] < 0.9
    assert sum(found[-4:]) < 0.8 * sum(found[:4])


def test_what_another_thread_reads_meanwhile_is_not_kept(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    body, blocks = body_of(model.network), list(blocks_of(model.network))
    with torch.no_grad(), watched(blocks, [1]) as found:
        body(input_ids=torch.tensor([[5, 6, 7]]))
        kept = found[1]
        other = Thread(target=lambda: body(input_ids=torch.tensor([[8, 9]])))
        other.start()
        other.join()
        assert found[1] is kept and kept.shape == (1, 3, 64)


@pytest.mark.parametrize("trimmed", [False, True])
def test_own_answers_are_matched_as_stored_ones_are(
    trimmed: bool, nano_llama: Path, tmp_path: Path
) -> None:
    """Each step's distance is that of its texts, whoever wrote them and in whose tokens."""
    own = {"stored_first": 0.25, "share": 0.7, "prompts": 3, "max_tokens": 8, "refresh_every": 2}
    chosen = config({"layers": [[1, 1], "last"]}, learning_rate=1e-12).model_copy(
        update={"on_policy": OnPolicyConfig(**own, cut_at_most=1.0)}
    )
    teacher = load(str(nano_llama), precision="fp32")
    merges = merges_of(teacher.tokenizer, teacher.eos_ids)
    kept = tuple(choose_tokens(merges, torch.ones(len(teacher.tokenizer)), 300))
    student, vocabulary = pruned(teacher, Cut(DROPPED, kept_tokens=kept if trimmed else None))
    student = moved(student)
    made = case(nano_llama, chosen, student=student, vocabulary=vocabulary)
    if trimmed:
        made = replace(made, targets=replace(made.targets, stored=_Mapped(teacher, vocabulary)))
    matching = matched(student, teacher, chosen, DROPPED, vocabulary)
    logged: list[Row] = []
    texts: dict[int, Sequence[TrainingExample]] = {}
    plain = made.rollouts.step

    def step(number: int) -> Sequence[TrainingExample]:
        texts[number] = plain(number)
        return texts[number]

    made.rollouts.step = step  # type: ignore[method-assign]
    train_steps(
        student,
        made.rollouts,
        config=chosen,
        seed=0,
        targets=made.targets,
        checkpoints=tmp_path,
        validate=None,
        log=logged.append,
        progress=Silent(),
        matching=matching,
    )
    assert any("own_answers" in entry for entry in logged)
    for entry in logged:
        total, tokens = 0.0, 0
        for example in texts[entry["step"] - 1]:
            ids = [*example.prompt_ids, *example.response_ids]
            read = ids if vocabulary is None else vocabulary.teacher_ids_K[ids].tolist()
            rows = slice(len(example.prompt_ids) - 1, len(ids) - 1)
            with torch.no_grad():
                mine, theirs = states_of(student, ids), states_of(teacher, read)
            for one, other in ((1, 1), (-1, -1)):
                far = hidden_distance("relative_mse", mine[one][rows], theirs[other][rows])
                total += float(far.sum()) / 2
            tokens += len(example.response_ids)
        assert entry["hidden_loss"] == pytest.approx(total / tokens, rel=1e-4)


class _Mapped(Scored):
    """Scores text in a trimmed student's tokens."""

    def __init__(self, teacher: LoadedModel, vocabulary: VocabularyMap | None) -> None:
        super().__init__(teacher)
        self._vocabulary = vocabulary
        self._head = TeacherHead.of(head_of(teacher), vocabulary, dtype=torch.float32)

    def targets(self, examples: Any) -> Any:
        pairs = [
            tuple(teacher_ids_of(self._vocabulary, ids) for ids in (e.prompt_ids, e.response_ids))
            for e in examples
        ]
        return DenseTargets(torch.cat(response_hidden(self.teacher, pairs)), self._head)


def test_text_without_a_distribution_is_matched_to_nothing(
    nano_llama: Path, tmp_path: Path
) -> None:
    student, teacher = cut_student(nano_llama), load(str(nano_llama), precision="fp32")
    chosen = config({"layers": "blocks", "projection": "learned"})
    examples = [replace(e, by_text=True) for e in examples_of(student)]
    logged: list[Row] = []
    train(
        student,
        examples,
        config=chosen,
        seed=0,
        order=ORDER,
        targets=Scored(teacher),
        checkpoints=tmp_path,
        validate=None,
        log=logged.append,
        progress=Silent(),
        matching=matched(student, teacher, chosen),
    )
    assert {entry["hidden_loss"] for entry in logged} == {0.0}


@pytest.mark.parametrize(
    ("layers", "more", "words"),
    [
        ([[4, 1]], {}, "names block 4 of the student, which has blocks 0 to 3"),
        ([[1, 6]], {}, "names block 6 of the teacher, which has blocks 0 to 5"),
        ([[0, 0]], {"frozen_blocks": 1}, "block 0 of the student, which train.frozen_blocks 1"),
    ],
)
def test_blocks_that_are_not_there_are_refused(
    layers: Any, more: dict[str, Any], words: str, nano_llama: Path
) -> None:
    student, teacher = cut_student(nano_llama), load(str(nano_llama), precision="fp32")
    with pytest.raises(PotstillError, match=words):
        matched(student, teacher, config({"layers": layers}, **more))


def test_a_matching_that_nobody_made_is_no_silence(nano_llama: Path, tmp_path: Path) -> None:
    student = cut_student(nano_llama)
    with pytest.raises(ValueError, match="nothing says how"):
        train(
            student,
            examples_of(student),
            config=config(),
            seed=0,
            order=ORDER,
            targets=None,
            checkpoints=tmp_path,
            validate=None,
            log=lambda _: None,
            progress=Silent(),
        )
    with pytest.raises(ValueError, match="a teacher has to read the text"):
        matching_of(student, config({"layers": "blocks"}), 64, DROPPED)
