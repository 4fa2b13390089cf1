"""The whole way by chat templates: what is asked, trained, saved and served is rendered alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nano_models
import pytest
import torch
import yaml
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

import pipeline_runs
from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.store import ExchangeStore
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.conversation import Reply
from potstill.models.generate import Request, decode
from potstill.models.load import load, load_conversation
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.recipe import Recipe
from potstill.work.corpus import reply_of
from potstill.work.rundir import RunDir

# Turns of another form, ended by another token than ChatML's.
PLAIN_TURNS = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}"
    "{{ '<|endoftext|>' if message['role'] == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
# What enable_thinking and the like do: another prompt for the same messages.
BRIEF = "{% if brief is defined and brief %}<|im_start|>brief<|im_end|>\n{% endif %}"
DATED = "{{ '<|im_start|>' + strftime_now('%d %B %Y') + '<|im_end|>' }}\n" + nano_models.CHATML


def speaking(
    source: Path, target: Path, *, template: str | None = None, eos: str | None = None
) -> Path:
    """Return a copy of a model that speaks by another template and ends with another token."""
    shutil.copytree(source, target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    if template is not None:
        tokenizer.chat_template = template
    if eos is not None:
        tokenizer.eos_token = eos
        for name in ("config.json", "generation_config.json"):
            values = json.loads((target / name).read_text())
            values["eos_token_id"] = tokenizer.convert_tokens_to_ids(eos)
            (target / name).write_text(json.dumps(values))
    tokenizer.save_pretrained(target)
    return target


def stored(root: Path) -> list[Exchange]:
    store = ExchangeStore(root)
    rows = store.read()
    store.close()
    return rows


def refused(values: dict[str, Any], tmp_path: Path) -> str:
    """Run a recipe through the command; return its one sentence."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    arguments = ["distill", str(recipe), "--out", str(tmp_path / "run"), "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def ended(model: LoadedModel, prompts: list[str], limit: int) -> list[bool]:
    """Return of every prompt whether a model ends its greedy answer by itself."""
    asked = [[{"role": "user", "content": text}] for text in prompts]
    requests = [Request(str(n), tuple(prompt_ids(model, m))) for n, m in enumerate(asked)]
    sampling = Sampling(temperature=0.0, max_tokens=limit)
    found = [c for batch in decode(model, requests, sampling, slots=16) for c in batch]
    return [
        c.finish_reason == "stop" for c in sorted(found, key=lambda completion: int(completion.key))
    ]


def with_student(teacher: Path, prompts: Path, student: Path, **sections: Any) -> dict[str, Any]:
    values = pipeline_runs.recipe_values(
        teacher, prompts, student={"model": str(student)}, **sections
    )
    values["shrink"] = {}
    return values


@pytest.mark.slow
def test_a_student_of_another_template_and_end_stops_where_its_teacher_does(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    import nano_text

    torch.manual_seed(5)
    network, tokenizer = nano_models.FAMILIES["llama"]()
    tokenizer.chat_template, tokenizer.eos_token = PLAIN_TURNS, "<|endoftext|>"
    nano_models._train(network, tokenizer, 100, seed=5)
    for stated in (network.config, network.generation_config):
        stated.eos_token_id = tokenizer.eos_token_id
    student = tmp_path / "student"
    network.save_pretrained(student)
    tokenizer.save_pretrained(student)
    shutil.copy(nano_llama / "README.md", student)
    values = with_student(
        nano_llama,
        nano_prompts,
        student,
        train={"learning_rate": 2e-3, "epochs": 6, "batch_tokens": 512, "validate_every": 50},
    )
    values["prompts"]["limit"] = 160
    run, notes = pipeline_runs.run(values, tmp_path / "run")
    (said,) = [note for note in notes if "takes over" in note]
    assert "its chat template" in said
    assert "its end tokens (<|endoftext|> there, <|im_end|> here)" in said
    teacher, learnt = load(str(nano_llama)), load(str(run.student))
    assert learnt.tokenizer.chat_template == teacher.tokenizer.chat_template
    prompts = nano_text.prompts()[:200]
    of_teacher, of_student = (ended(m, prompts, 96) for m in (teacher, learnt))
    both = sum(ours for ours, theirs in zip(of_student, of_teacher, strict=True) if theirs)
    assert sum(of_teacher) > 150
    assert both >= 0.95 * sum(of_teacher)


def test_a_student_takes_over_how_its_teacher_speaks(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    student = speaking(nano_llama, tmp_path / "student", template=PLAIN_TURNS, eos="<|endoftext|>")
    run, notes = pipeline_runs.run(
        with_student(nano_llama, nano_prompts, student), tmp_path / "run"
    )
    assert any("takes over" in note and "<|endoftext|> there" in note for note in notes)
    teacher = AutoTokenizer.from_pretrained(nano_llama)
    for name in ("untrained", "student"):
        saved = AutoTokenizer.from_pretrained(run.root / name)
        assert saved.chat_template == teacher.chat_template
        assert saved.eos_token == "<|im_end|>"
        stated = json.loads((run.root / name / "generation_config.json").read_text())
        assert stated["eos_token_id"] == teacher.eos_token_id


def test_a_student_of_other_tokens_is_refused_before_anything_is_asked(
    nano_llama: Path, nano_qwen3: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    said = refused(with_student(nano_llama, nano_prompts, nano_qwen3), tmp_path)
    assert "448" in said and "490" in said
    assert stored(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{{ raise_exception('no system here') if messages[0].role == 'system' }}", "system"),
        ("{% for message in messages %}{{ message.content }}", "is broken"),
        ("{{ messages | nothing }}", "is not known, in its line 1"),
        ("{% for message in messages %}{{ message.text + 'a' }}{% endfor %}", "refuses"),
    ],
)
@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_a_template_that_cannot_be_rendered_is_refused_before_the_first_call(
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
    template: str,
    named: str,
    whose: str,
) -> None:
    whole = template + (nano_models.CHATML if "raise_exception" in template else "")
    broken = speaking(nano_llama, tmp_path / "broken", template=whole)
    if whose == "teacher":
        values = pipeline_runs.recipe_values(broken, nano_prompts)
    else:
        calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
        values = with_student(Path("calls"), nano_prompts, broken, train={"cross_entropy": 1.0})
        values["collect"] |= {"calls": {"path": str(calls), "source": "apache-2.0"}}
        if "raise_exception" in template:
            lines = [json.loads(line) for line in calls.read_text().splitlines()]
            system = {"role": "system", "content": "Be brief."}
            calls.write_text(
                "\n".join(json.dumps({"messages": [system, *line["messages"]]}) for line in lines)
            )
    values["prompts"]["system"] = "Be brief."
    said = refused(values, tmp_path)
    assert "chat template" in said and named in said
    assert "Be brief" not in said
    if whose == "teacher":
        assert stored(tmp_path / "run") == []


def test_answers_longer_than_a_student_reads_are_left_out_and_counted(
    nano_llama: Path, tmp_path: Path
) -> None:
    calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
    long = [
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "one two three " * 700},
    ]
    with calls.open("a") as file:
        file.write("\n" + json.dumps({"messages": long}))
    values = with_student(Path("calls"), calls, nano_llama, train={"cross_entropy": 1.0})
    values["collect"] |= {"calls": {"path": str(calls), "source": "apache-2.0"}}
    values["prompts"] |= {"limit": None}
    run, notes = pipeline_runs.run(values, tmp_path / "run")
    dropped = json.loads(run.evaluation_path.read_text())["curation"]
    split = {r.split for r in stored(run.root) if r.response.startswith("one two")}.pop()
    if split == "train":
        assert dropped["dropped"]["too_long"] == 1
    else:
        assert any("longer than the student reads" in note for note in notes)


def test_a_student_of_learnt_positions_reads_no_further_than_it_can(
    nano_llama: Path, tmp_path: Path
) -> None:
    """GPT-2 has no position beyond its last: a longer text is an error of indices there."""
    tokenizer = AutoTokenizer.from_pretrained(nano_llama)
    tokenizer.model_max_length = 1_000_000
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    student = tmp_path / "gpt2"
    GPT2LMHeadModel(config).save_pretrained(student)
    tokenizer.save_pretrained(student)
    shutil.copy(nano_llama / "README.md", student)
    calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
    lines = [json.loads(line) for line in calls.read_text().splitlines()]
    for line in lines[::4]:
        line["messages"][-1]["content"] += " Then go on along the river" * 12
    calls.write_text("\n".join(map(json.dumps, lines)))
    values = with_student(Path("calls"), calls, student, train={"cross_entropy": 1.0})
    values["collect"] |= {"calls": {"path": str(calls), "source": "apache-2.0"}}
    values["prompts"] |= {"limit": None}
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    curation = json.loads(run.evaluation_path.read_text())["curation"]
    assert 5 < curation["dropped"]["too_long"] < curation["train"] / 2


def test_prompts_that_leave_a_student_no_room_are_not_asked(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    short = speaking(nano_llama, tmp_path / "short")
    values = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(values | {"max_position_embeddings": 48}))
    prompts = tmp_path / "prompts.jsonl"
    lines = nano_prompts.read_text().splitlines()[:100]
    prompts.write_text("\n".join([*lines, json.dumps({"prompt": "tell me " * 40})]))
    recipe = with_student(nano_llama, prompts, short)
    recipe["prompts"]["limit"] = None
    run, notes = pipeline_runs.run(recipe, tmp_path / "run", until="curate")
    (said,) = [note for note in notes if "prompts are left out" in note]
    assert "1 of" in said and "48 tokens" in said
    assert not any(
        row.messages[0]["content"].startswith("tell me tell") for row in stored(run.root)
    )


def test_template_arguments_are_asked_with_stored_and_kept_by_the_student(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    teacher = speaking(nano_llama, tmp_path / "teacher", template=BRIEF + nano_models.CHATML)
    values = pipeline_runs.recipe_values(teacher, nano_prompts)
    values["teacher"]["template_arguments"] = {"brief": True}
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    rows = stored(run.root)
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    for row in rows:
        assert row.sampling["template_arguments"] == {"brief": True}
        assert row.prompt_token_ids is not None
        assert tokenizer.decode(row.prompt_token_ids).startswith("<|im_start|>brief<|im_end|>")
    asked = [{"role": "user", "content": "Count from 1 to 3."}]
    saved = AutoTokenizer.from_pretrained(run.student)
    text = saved.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>brief<|im_end|>\n<|im_start|>user")
    other = saved.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True, brief=False
    )
    assert other.startswith("<|im_start|>user")


def test_template_arguments_that_no_template_reads_are_refused(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    values["teacher"]["template_arguments"] = {"enable_thinking": False}
    assert "does not use enable_thinking" in refused(values, tmp_path)


@pytest.mark.slow
def test_one_date_holds_for_a_whole_run(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    teacher = speaking(nano_llama, tmp_path / "teacher", template=DATED)
    values = pipeline_runs.recipe_values(teacher, nano_prompts)
    out = tmp_path / "run"
    pipeline_runs.run(values, out, until="collect")
    record = out / "state" / "conversation.json"
    known = json.loads(record.read_text())
    assert {row.sampling["date"] for row in stored(out)} == {known["date"]}
    # As if the run had begun on another day: what is asked now is asked as on that day.
    shutil.rmtree(out)
    pipeline_runs.run(values, out, until="collect")
    record.write_text(json.dumps(known | {"date": "2026-02-03"}))
    (out / "state" / "collect.json").unlink()
    pipeline_runs.run(values, out, until="collect")
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    dated = [row for row in stored(out) if row.sampling["date"] == "2026-02-03"]
    assert dated
    assert all("03 February 2026" in tokenizer.decode(row.ids[0]) for row in dated)


def test_a_run_that_an_older_version_rendered_is_refused(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values, out = pipeline_runs.recipe_values(nano_llama, nano_prompts), tmp_path / "run"
    pipeline_runs.run(values, out, until="collect")
    record = out / "state" / "conversation.json"
    for damage in (
        lambda: record.unlink(),
        lambda: record.write_text(json.dumps({"version": 0, "date": "2026-01-01"})),
    ):
        damage()
        with pytest.raises(PotstillError, match=r"rendered conversations in another way.*--fresh"):
            pipeline_runs.run(values, out)


def test_the_turns_end_is_trained_and_saved_where_it_is_not_the_tokenizers_end(
    nano_gemma: Path, tmp_path: Path
) -> None:
    student = speaking(nano_gemma, tmp_path / "student", eos="<eos>")
    calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
    values = with_student(
        Path("calls"),
        calls,
        student,
        train={"cross_entropy": 1.0, "learning_rate": 2e-3, "epochs": 6},
    )
    values["collect"] |= {"calls": {"path": str(calls), "source": "apache-2.0"}}
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(run.student)
    stated = json.loads((run.student / "generation_config.json").read_text())["eos_token_id"]
    assert sorted(stated) == sorted(
        tokenizer.convert_tokens_to_ids(t) for t in ("<end_of_turn>", "<eos>")
    )
    model = load(str(run.student))
    asked = [{"role": "user", "content": "Where is the boat number 3 lamp?"}]
    request = Request("a", tuple(prompt_ids(model, asked)))
    sampling = Sampling(temperature=0.0, max_tokens=24)
    (done,) = [c for batch in decode(model, [request], sampling, slots=1) for c in batch]
    assert tokenizer.convert_ids_to_tokens(done.token_ids[-1]) == "<end_of_turn>"


def talks(path: Path) -> Path:
    """Write a log of talks with an earlier answer each."""
    lines = []
    for line in pipeline_runs.write_calls(path).read_text().splitlines():
        asked, told = json.loads(line)["messages"]
        earlier = {"role": "assistant", "content": f"You ask for {asked['content'][13:]}"}
        sure = {"role": "user", "content": "Are you sure?"}
        lines.append(json.dumps({"messages": [asked, earlier, sure, told]}))
    path.write_text("\n".join(lines))
    return path


def test_earlier_answers_are_trained_where_asked(nano_llama: Path, tmp_path: Path) -> None:
    calls = talks(tmp_path / "calls.jsonl")
    found = {}
    for turns in ("last", "all"):
        values = with_student(
            Path("calls"), calls, nano_llama, train={"cross_entropy": 1.0, "turns": turns}
        )
        values["collect"] |= {"calls": {"path": str(calls), "source": "apache-2.0"}}
        run, notes = pipeline_runs.run(values, tmp_path / turns, until="train")
        record = json.loads((run.root / "state" / "train.json").read_text())
        found[turns] = len(record["lengths"])
        said = [note for note in notes if "earlier answers of talks" in note]
        assert len(said) == (turns == "all")
    assert found["all"] == 2 * found["last"]


@pytest.mark.slow
def test_earlier_answers_are_trained_beside_a_teachers_distributions(
    nano_llama: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [json.loads(line) for line in talks(tmp_path / "calls.jsonl").read_text().splitlines()]
    prompts.write_text("\n".join(json.dumps({"prompt": line["messages"][:-1]}) for line in lines))
    values = pipeline_runs.recipe_values(
        nano_llama, prompts, train={"turns": "all", "objective": "jsd"}
    )
    run, notes = pipeline_runs.run(values, tmp_path / "run")
    (said,) = [note for note in notes if "earlier answers of talks" in note]
    assert "cross-entropy" in said
    assert run.manifest_path.is_file()


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_a_judge_whose_template_takes_no_system_message_is_asked_in_one(
    nano_model: Callable[[str], Path],
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
    family: str,
) -> None:
    template = "{{ raise_exception('no') if messages[0].role == 'system' }}"
    source = nano_model(family)
    own = str(AutoTokenizer.from_pretrained(source).chat_template)
    judge = speaking(source, tmp_path / "judge", template=template + own)
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    values["curate"] = {"judge": {"model": str(judge)}}
    out = tmp_path / "run"
    # A nano judge says no score: that it was asked, and not refused, is what is seen.
    with pytest.raises(PotstillError, match="gave no score from 1 to 5"):
        pipeline_runs.run(values, out, until="curate")


def learnt_text(values: dict[str, Any], root: Path) -> dict[str, str]:
    """Return the text that each answer is trained as."""
    recipe = Recipe.model_validate(values)
    with RunDir.open(root, recipe) as run:
        job = Job(run, recipe, pipeline_runs.Noted())
        model = job.load_student(job.untrained)
        texts = job.texts(job.store.read("train"), model)
        job.store.close()
    return {t.exchange.response: model.tokenizer.decode(t.response_ids) for t in texts}


@pytest.mark.parametrize("reasoning", ["keep", "leave_out"])
def test_an_answer_that_speaks_of_marks_is_trained_as_it_is(
    nano_llama: Path, tmp_path: Path, reasoning: str
) -> None:
    odd = [
        "To end number 0 write </think> and go on.",
        "<step>1</step><reasoning>because</reasoning><answer>yes</answer>",
        "  indented\n",
        "a <think> in the middle </think> of it",
        "```\n</think>\n``` closes, <think> opens",
    ]
    calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
    lines = [json.loads(line) for line in calls.read_text().splitlines()]
    for n, line in enumerate(lines):
        line["messages"][-1]["content"] = odd[n % len(odd)]
    calls.write_text("\n".join(map(json.dumps, lines)))
    values = with_student(Path("calls"), calls, nano_llama, train={"cross_entropy": 1.0})
    values["collect"] |= {"calls": {"path": str(calls), "source": "apache-2.0"}}
    values["curate"] = {"reasoning": reasoning, "exact_duplicates": False}
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="shrink")
    learnt = learnt_text(values, run.root)
    assert set(learnt) >= set(odd)
    assert {response: text for response, text in learnt.items() if response in odd} == {
        response: response + "<|im_end|>" for response in odd
    }


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("<think>why</think>\n\n  Yes. ", "<think>\nwhy\n</think>\n\n  Yes. <|im_end|>"),
        ("why\n</think>\n\nYes.", "<think>\nwhy\n</think>\n\nYes.<|im_end|>"),
        ("<think>\n\n</think>\n\nYes.", "Yes.<|im_end|>"),
    ],
)
def test_reasoning_in_an_answer_is_laid_out_once(
    nano_llama: Path, response: str, text: str
) -> None:
    spoken = load_conversation(str(nano_llama))
    messages = ({"role": "user", "content": "Yes?"},)
    found = reply_of({"role": "assistant", "content": response})
    assert spoken.tokenizer.decode(spoken.reply_ids(messages, found)) == text


ONLY_LAST = (
    "<|im_start|>user\n{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content }}"
    "<|im_end|>\n<|im_start|>assistant\n{% if messages[-1].role == 'assistant' %}"
    "{{ messages[-1].content }}<|im_end|>{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (ONLY_LAST, "leaves what a user says out"),
        (
            nano_models.CHATML.replace(
                "{{ message['content'] }}", "{{ message['content'] | tojson }}"
            ),
            "escapes or changes what an assistant says",
        ),
        (
            nano_models.CHATML.replace("assistant\n{% endif", 'assistant\n{"answer": {% endif'),
            "begins an answer in another way",
        ),
    ],
)
def test_a_template_that_would_change_the_talk_is_refused(
    nano_llama: Path, tmp_path: Path, template: str, what: str
) -> None:
    teacher = speaking(nano_llama, tmp_path / "teacher", template=template)
    asked = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]

    def spoken() -> None:
        found = load_conversation(str(teacher))
        found.reply_ids(asked, Reply("Yes."))

    with pytest.raises(PotstillError, match=what):
        spoken()
