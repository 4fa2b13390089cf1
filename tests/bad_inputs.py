"""Bad inputs as rows: what is wrong, and words that the refusal has to hold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import broken_models as b
from licence_texts import MIT, card

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@dataclass(frozen=True)
class Bad:
    """One bad input of a sound recipe. `{place}` in overrides and words is the test's folder.

    `text` takes the place of the whole recipe; `files` are written first; `model` breaks a copy of
    the nano model at `{place}/model`; `prepare` does anything else.
    """

    name: str
    words: tuple[str, ...]
    sets: tuple[str, ...] = ()
    text: str | bytes | None = None
    files: dict[str, str | bytes] = field(default_factory=dict)
    model: tuple[b.Break, ...] | None = None
    prepare: Callable[[Path], object] | None = None


def _set(override: str, *words: str, more: tuple[str, ...] = ()) -> Bad:
    return Bad(override[:60], words, (override, *more))


_BASE = "name: mine\nteacher: {model: some/model}\n"
RECIPES = [
    *(
        Bad(name, words, text=text)
        for name, text, *words in (
            ("a list", "- a\n- b\n", "holds a list, not sections", "`potstill recipe`"),
            ("a word", "hello\n", "holds text, not sections"),
            ("nothing", "", "2 problems"),
            ("a tab", "name: a\n\tteacher: {}\n", "recipe.yaml, line 2", "not valid YAML"),
            ("open brace", "name: {a\n", "line 2, column 1: not valid YAML", "check indentation"),
            ("two documents", _BASE + "---\na: 1\n", "line 3, column 1: not valid YAML"),
            ("unknown anchor", "name: *x\n", "line 1, column 7: not valid YAML"),
            ("control", "name: a\nseed: \x01\n", "line 2: the character U+0001", "remove it"),
            ("not UTF-8", b"name: \xff\n", "is not UTF-8 text; save the recipe as UTF-8"),
            ("UTF-16", _BASE.encode("utf-16"), "is not UTF-8 text"),
            ("twice", _BASE + "name: b\n", "line 3: name is given twice (first on line 1)"),
            (
                "twice, nested",
                _BASE + "train:\n  epochs: 1\n  epochs: 2\n",
                "train.epochs is given",
            ),
            ("twice, JSON", '{"name": "a",\n"name": "b"}', "line 2: name is given twice"),
            ("itself", "name: &a [*a]\n", "line 1: name[0] holds itself; write it out"),
            ("a list as key", "? [a]\n: 1\n", "line 1", "a key that is a list"),
            ("a tag", "name: !!python/name:os.system a\n", "line 1: name has the tag", "remove it"),
            ("half a character", 'name: "\\ud83d"\n', "line 1: name has half of a character"),
            ("deep", "a: " + "[" * 3000, "is nested too deeply; write it flatter"),
            ("no teacher", "name: a\n", "teacher.model is missing", "add it"),
            ("no name", "teacher: {model: a}\n", "name is missing", "add it"),
            ("unknown key", _BASE + "trian: {}\n", "line 3: unknown key trian", "mean train?"),
            ("wrong place", _BASE + "epochs: 2\n", "line 3: unknown key epochs", "train.epochs?"),
        )
    ),
    _set("train.learning_rate=yes", "--set: train.learning_rate must be a number, but `yes`"),
    _set(
        "train.learning_rate='1e-4'",
        "train.learning_rate must be a number, but `1e-4`",
        "out of its quotes",
    ),
    _set("train.epochs=1:30", "train.epochs must be a number", "write it in decimal digits"),
    _set("train.epochs=0", "train.epochs must be greater than 0, but 0"),
    _set("train.epochs=.nan", "train.epochs must be a finite number, but nan"),
    _set("train.warmup=1", "train.warmup must be less than 1, but 1"),
    _set("train.betas=[0.9]", "train.betas"),
    _set("train.betas=[0.9, off]", "train.betas[1] must be a number, but `off`"),
    _set("train.objective=kl", "train.objective must be", "but `kl` was given"),
    _set("train.lora.targets=[1]", "train.lora.targets[0] must be text", "put it in quotes"),
    _set("seed=010", "seed must be a whole number, but `010`", "decimal digits"),
    _set("seed=1.0", "seed must be a whole number, but 1.0 was given; write 1"),
    _set("seed=-1", "seed must be at least 0, but -1"),
    _set("seed=0x1F", "seed must be a whole number, but `0x1F`"),
    _set("prompts.limit=on", "prompts.limit must be a whole number, but `on`"),
    _set("prompts.limit=1_000", "prompts.limit must be a whole number, but `1_000`"),
    _set("collect.slots=2026-01-01", "collect.slots must be a whole number"),
    _set("evaluate.greedy=1", "evaluate.greedy must be true or false, but 1"),
    _set("evaluate.greedy='yes'", "evaluate.greedy must be true or false"),
    _set("precision=fp31", "precision must be auto, fp32 or bf16 (did you mean fp32?)"),
    _set("device=tpu", "device"),
    _set("name=../x", "name must start with a letter or digit", "but `../x`"),
    _set("name=7", "name must be text, but 7 was given; put it in quotes"),
    _set("prompts.magpie=7", "prompts.magpie must be a section with the keys count"),
    _set("teacher.template_arguments={on: no}", "teacher.template_arguments.on is `no`", "quotes"),
    _set("teacher.template_arguments={a b: 1}", "must have names that a template can read"),
    _set("teacher.template_arguments={a: .inf}", "must hold JSON values"),
    _set("shrink.blocks=[1, x]", "shrink.blocks[1] must be a whole number, but `x`"),
    _set("shrink.blocks=[2]", "shrink.blocks", "shrink.drop_layers", "remove one"),
    _set("shrink.parameters=0.5", "shrink.parameters", "remove shrink.drop_layers"),
    _set("shrink.axes=[width]", "shrink.axes[0] must be depth"),
    _set("collect.targets=sampled", "cannot be combined", more=("train.objective=jsd",)),
    _set("collect.targets=top-k", "train.temperature to 1", more=("train.temperature=2",)),
    _set("collect.gold=true", "name their column in task.gold"),
    _set("collect.watermark=a.key", "collect.watermark must be a section with the keys key"),
    _set("collect.watermark={scheme: green}", "collect.watermark.key"),
    _set("collect.watermark={key: a, scheme: greene}", "did you mean green?"),
    _set("collect.watermark={key: a, scheme: gumbel, delta: 2}", "it is a green list's; take it"),
    _set("collect.watermark={key: a, gamma: 1}", "collect.watermark.gamma"),
    _set(
        "collect.watermark.key=a",
        "set collect.targets to sampled",
        more=("collect.targets=hidden",),
    ),
    _set("collect.watermark.key={place}/none.key", "none.key does not exist", "keygen"),
    _set("collect.watermark.key={place}/recipe.yaml", "recipe.yaml holds no watermark key"),
    _set("curate.keep_shortest=1", "curate.keep_shortest needs curate.verify.kind"),
    _set("curate.verify.labels=[a]", "curate.verify.labels are not used by"),
    _set("curate.languages=[xx]", "curate.languages"),
    _set("train.epochs", "--set `train.epochs` is not of the form key=value"),
    _set("shrink.axes=[1", "the value in --set `shrink.axes=[1` is not valid YAML"),
    _set("name.first=x", "goes through a single value"),
]


def _prompts(name: str, content: str | bytes, *words: str, more: tuple[str, ...] = ()) -> Bad:
    sets = (f"prompts.source={{place}}/{name}", *more)
    return Bad(f"{name}: {content[:24]!r}", words, sets, files={name: content})


_ROWS = "\n".join(json.dumps({"prompt": f"What is {i}?"}) for i in range(40)) + "\n"
PROMPTS = [
    _set("prompts.source={place}/none.jsonl", "none.jsonl does not exist; check prompts.source"),
    _set("prompts.source=startr", "neither a name that potstill knows", "check prompts.source"),
    _set("prompts.held_out={place}/none.csv", "does not exist; check prompts.held_out"),
    _set("curate.decontaminate.sources=[{place}/x.txt]", "check curate.decontaminate.sources"),
    _set("prompts.source='hf:'", "hf: names no data set"),
    _set("prompts.source={place}/x/y.jsonl", "y.jsonl does not exist"),
    Bad(
        "a dangling link",
        ("link.jsonl is a link to what is not there; check prompts.source",),
        ("prompts.source={place}/link.jsonl",),
        prepare=lambda place: (place / "link.jsonl").symlink_to(place / "gone.jsonl"),
    ),
    Bad(
        "a link to itself",
        ("link.jsonl cannot be read (its path is a link to itself)",),
        ("prompts.source={place}/link.jsonl",),
        prepare=lambda place: (place / "link.jsonl").symlink_to(place / "link.jsonl"),
    ),
    Bad(
        "below a file",
        ("cannot be read (a part of its path is a file and no folder); check prompts.source",),
        ("prompts.source={place}/recipe.yaml/x.jsonl",),
    ),
    _set(f"prompts.source=/{'x' * 300}.jsonl", "its name is longer than the file system takes"),
    _prompts("a.jsonl", "", "a.jsonl is empty; give it at least one prompt"),
    _prompts("a.jsonl", "\n \n", "a.jsonl is empty"),
    _prompts("a.jsonl", _ROWS + '{"prompt": "tw\n', "a.jsonl, line 41, is not valid JSON"),
    _prompts("a.jsonl", _ROWS + "[1]\n", "a.jsonl, line 41"),
    _prompts("a.jsonl", _ROWS + '{"text": "x"}\n', "a.jsonl, line 41", "prompts.column"),
    _prompts("a.jsonl", '{"prompt": 7}\n', "a.jsonl, line 1", "prompt holds"),
    _prompts("a.jsonl", '{"prompt": [{"role": "x", "content": "y"}]}\n', "a.jsonl, line 1"),
    _prompts("a.jsonl", '{"prompt": "\\ud800"}\n', "a.jsonl, line 1", "half a surrogate"),
    _prompts("a.jsonl", '{"prompt": " "}\n', "a.jsonl", "no prompt that is not blank"),
    _prompts("a.jsonl", b'{"prompt": "\xff"}\n', "a.jsonl", "not UTF-8", "save it as UTF-8"),
    _prompts("a.jsonl", "[" * 100_000 + "\n", "a.jsonl, line 1", "nested too deeply"),
    _prompts("a.csv", "prompt\na,b\n", "a.csv, line 2"),
    _prompts("a.csv", 'prompt\n"a\n', "a.csv, line"),
    _prompts("a.csv", "body\na\n", "a.csv, line 2", "prompts.column"),
    _prompts("a.txt", "", "a.txt is empty"),
    _prompts("a.json", '{"prompt": "a"', "a.json"),
    _prompts("a.jsonl.gz", "no gzip", "a.jsonl.gz", "write it again"),
    Bad(
        "a folder of no prompts",
        ("is a directory without files that end in", "prompts.source"),
        ("prompts.source={place}/folder",),
        prepare=lambda place: (place / "folder").mkdir(),
    ),
    _prompts("a.parquet", "PAR1", "a.parquet"),
    _prompts("a.xlsx", "x", "a.xlsx", "jsonl"),
    _prompts("a.jsonl", _ROWS, "prompts.template", "column", more=("prompts.template=no",)),
    _prompts("a.jsonl", _ROWS, "prompts.template cannot be read", more=("prompts.template='{a'",)),
    _prompts("a.jsonl", _ROWS, "plain column names", more=("prompts.template='{a.b}'",)),
    _prompts("a.jsonl", '{"prompt": "one"}\n', "leaves no prompt to train on"),
]


def _calls(name: str, content: str | bytes, *words: str, more: tuple[str, ...] = ()) -> Bad:
    sets = (f"collect.calls.path={{place}}/{name}", *_FROM_TEXT, *more)
    return Bad(f"{name}: {content[:24]!r}", words, sets, files={name: content})


# What a recipe of past calls says beside where they are.
_FROM_TEXT = (
    "teacher.model=logged",
    "student.model={nano}",
    "train.cross_entropy=1",
    "collect.targets=none",
    "collect.calls.source=mit",
)
_CHAT = json.dumps(
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]}
)
CALLS = [
    _set(
        "collect.calls.path={place}/none.jsonl",
        "the log of calls {place}/none.jsonl does not exist; check collect.calls.path",
        more=_FROM_TEXT,
    ),
    _set(
        "collect.calls.path=[{place}/recipe.yaml, {place}/none.jsonl]",
        "none.jsonl does not exist; check collect.calls.path",
        more=_FROM_TEXT,
    ),
    _set("collect.calls.path=[]", "name at least one file of calls in path", more=_FROM_TEXT),
    _set("collect.calls.path=7", "collect.calls.path must be text or a list", more=_FROM_TEXT),
    _calls("a.jsonl", _CHAT, "collect.calls.form must be", more=("collect.calls.form=chats",)),
    _calls("a.txt", _CHAT, "a.txt", "known kinds"),
    _calls("a.jsonl", "", "a.jsonl is empty; give a file with calls in it"),
    _calls("a.jsonl", "nothing\n", "a.jsonl", "line 1"),
    _calls("a.jsonl", '{"x": 1}\n', "a.jsonl, line 1, is of no known form", "collect.calls.form"),
    _calls("a.parquet", "PAR1", "a.parquet", "write it again"),
    _calls("a.jsonl.gz", "no gzip", "a.jsonl.gz", "write it again"),
    _calls("a.json", '[{"messages": ', "a.json"),
    Bad(
        "a folder of no calls",
        ("folder", "collect.calls.path"),
        ("collect.calls.path={place}/folder", *_FROM_TEXT),
        prepare=lambda place: (place / "folder").mkdir(),
    ),
    _calls("a.csv", "q,a\n1,2\n", "a.csv", "collect.calls.prompt_column"),
    _calls(
        "a.jsonl", _CHAT, "no column prompt", "prompt_column", more=("collect.calls.form=table",)
    ),
    _calls("a.jsonl", _CHAT, "no call that can be used", more=("collect.calls.model=other",)),
    _calls(
        "a.jsonl",
        json.dumps({"messages": [{"role": "user", "content": "Hi"}]}),
        "a.jsonl",
    ),
    Bad(
        "an authorisation of calls that is not there",
        ("the authorisation", "none.txt does not exist", "collect.calls.terms.authorisation"),
        (
            "collect.calls.path={place}/a.jsonl",
            "collect.calls.terms.authorisation={place}/none.txt",
            *_FROM_TEXT,
        ),
        files={"a.jsonl": _CHAT},
    ),
]


def _task(task: str, rows: list[dict[str, Any]], *words: str) -> Bad:
    content = "\n".join(json.dumps(row) for row in rows)
    sets = (f"task={task}", "prompts.source={place}/a.jsonl", "prompts.held_out_count=5")
    return Bad(f"{task}: {rows[-1:]}"[:70], words, sets, files={"a.jsonl": content})


def _rows(**last: Any) -> list[dict[str, Any]]:
    some = [{"prompt": f"Is {i} even?", "gold": "yes" if i % 2 else "no"} for i in range(40)]
    return [*some, {"prompt": "Is 41 even?", **last}] if last else some


TASKS = [
    *(
        _set(f"task={task}", *words)
        for task, *words in (
            ("{kind: label}", "task.labels needs at least two labels"),
            ("{kind: label, labels: [a]}", "at least two labels"),
            ("{kind: label, labels: [a, ' A. ']}", "which are one label"),
            ("{kind: label, labels: [a, '-']}", "a label without a letter or digit"),
            ("{kind: label, labels: [1, 2]}", "task.labels[0] must be text", "put it in quotes"),
            ("{kind: label, labels: [true, no]}", "task.labels[0] must be text, but true"),
            ("{kind: lable, labels: [a, b]}", "task.kind must be", "did you mean label?"),
            ("{kind: text, labels: [a, b]}", "cannot be combined"),
            ("{kind: text, json_schema: {}}", "task.json_schema", "cannot be combined"),
            ("{kind: json, json_schema: 7}", "task.json_schema must be a mapping"),
            ("{kind: json, json_schema: {type: objekt}}", "task.json_schema is no JSON schema"),
            ("{kind: json, json_schema: {enum: [yes]}}", "json_schema.enum[0] is `yes`"),
            ("{kind: json, json_schema: {$ref: '#/x'}}", "leads nowhere"),
            ("{kind: json, json_schema: {place}/none.json}", "none.json does not exist"),
            ("{kind: json, json_schema: '{place}'}", "is a directory; check task.json_schema"),
            ("{kind: text, apart: [a]}", "task.apart names values of task.slice"),
            ("{kind: text, margin: 2}", "task.margin must be less than 1"),
            ("{kind: text, confidence: yes}", "task.confidence must be a number, but `yes`"),
            ("{labels: [a, b]}", "task.kind is missing"),
        )
    ),
    Bad(
        "a schema that is no JSON",
        ("s.json", "valid JSON"),
        ("task={kind: json, json_schema: '{place}/s.json'}",),
        files={"s.json": "{"},
    ),
    Bad(
        "a schema that is a list",
        ("s.json", "it must be an object"),
        ("task={kind: json, json_schema: '{place}/s.json'}",),
        files={"s.json": "[]"},
    ),
    _task("{kind: label, labels: [yes, no], gold: gold}", _rows(gold="maybe"), "a.jsonl, line 41"),
    _task("{kind: label, labels: [yes, no], gold: gold}", _rows(gold=None), "a.jsonl, line 41"),
    _task("{kind: label, labels: [yes, no], gold: gold}", _rows(x=1), "a.jsonl, line 41", "gold"),
    _task("{kind: label, labels: [yes, no], gold: right}", _rows(), "no column right"),
    _task("{kind: label, labels: [yes, no], slice: place}", _rows(), "no column place"),
    _task("{kind: json, gold: gold}", _rows(), "a.jsonl, line 1", "no JSON object"),
]


def _model(name: str, *breaks: b.Break) -> Callable[..., Bad]:
    def bad(*words: str) -> Bad:
        return Bad(name, words, model=breaks)

    return bad


def _only(**files: str | bytes) -> b.Break:
    """Leave nothing in a directory but these files, whose names have `__` for a dot."""

    def change(directory: Path) -> None:
        for path in directory.iterdir():
            path.unlink()
        for name, content in files.items():
            b.written(name.replace("__", "."), content)(directory)

    return change


def _gone(*names: str) -> b.Break:
    return lambda directory: [(directory / name).unlink() for name in names]


def _without_index(directory: Path) -> None:
    b.in_shards(directory)
    (directory / "model.safetensors.index.json").unlink()


def _dangling(name: str) -> b.Break:
    def change(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).symlink_to(directory / "gone")

    return change


def _folder(name: str) -> b.Break:
    def change(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).mkdir()

    return change


MODELS = [
    _model("empty directory", _only())("is an empty directory; fetch or save the model there"),
    _model("no config", _gone("config.json"))("has no config.json; point to a complete directory"),
    _model("no tokenizer", _gone("tokenizer.json"))("has no tokenizer.json (a fast tokenizer)"),
    _model("a slow tokenizer", _gone("tokenizer.json"), b.written("vocab.json", "{}"))(
        "only tokenizer_config.json, vocab.json; load its tokenizer",
    ),
    _model("no weights", _gone("model.safetensors"))("has no .safetensors file"),
    _model("config, empty", b.written("config.json", ""))("config.json that is empty"),
    _model("config, no JSON", b.written("config.json", "{"))("config.json that is not valid JSON"),
    _model("config, a list", b.written("config.json", "[1]"))("config.json that holds a list"),
    _model("config, text", b.written("config.json", '"x"'))("config.json that holds text"),
    _model("config, a pointer", b.written("config.json", LFS))("Git LFS pointer", "git lfs pull"),
    _model("config, dangling", _dangling("config.json"))("config.json that is a link to what is"),
    _model("config, a directory", _folder("config.json"))("config.json that is a directory"),
    _model("tokenizer, a pointer", b.written("tokenizer.json", LFS))(
        "tokenizer.json that is a Git"
    ),
    _model("tokenizer, half", b.cut_off("tokenizer.json"))("tokenizer.json that is not valid JSON"),
    _model("tokenizer, bytes", b.written("tokenizer.json", b"\xff{"))("that is not UTF-8 text"),
    _model("tokenizer, another", b.written("tokenizer.json", "{}"))("the tokenizer of the model"),
    _model("weights, half", b.cut_off())("model.safetensors that is cut off or damaged"),
    _model("weights, empty", b.written("model.safetensors", ""))("model.safetensors that is empty"),
    _model("weights, a pointer", b.written("model.safetensors", LFS))("Git LFS pointer"),
    _model("weights, HTML", b.written("model.safetensors", "<html>" * 9))("cut off or damaged"),
    _model("weights, dangling", _dangling("model.safetensors"))("that is a link to what is not"),
    _model("weights, a directory", _folder("model.safetensors"))("that is a directory"),
    _model("shard 2 gone", b.in_shards, b.without_second_shard)("lacks its shard 2 of "),
    _model("shard 2 gone, no index", _without_index, b.without_second_shard)("lacks its shard 2"),
    _model("no index", _without_index)("shards of weights without model.safetensors.index.json"),
    _model("shard 2, half", b.in_shards, b.cut_second_shard)("-00002-of-", "cut off or damaged"),
    _model("index, no JSON", b.in_shards, b.written("model.safetensors.index.json", "{"))(
        "model.safetensors.index.json that is not valid JSON",
    ),
    _model("index of nothing", b.in_shards, b.written("model.safetensors.index.json", "{}"))(
        "without a weight_map"
    ),
    _model("other name", lambda d: os.rename(d / "model.safetensors", d / "w.safetensors"))(
        "has its weights in w.safetensors, where transformers reads model.safetensors",
    ),
    _model("pickled", lambda d: os.rename(d / "model.safetensors", d / "model.bin"))(
        "no pickled weights"
    ),
    _model("an adapter", _only(adapter_config__json='{"base_model_name_or_path": "a/b"}'))(
        "is an adapter of a/b (adapter_config.json) without its base; merge it",
    ),
    _model("an adapter of nobody", _only(adapter_config__json="{}"))("is an adapter (adapter"),
    _model("an adapter inside", b.written("adapter_config.json", "{}"))("holds an adapter"),
    _model("a folder of GGUF files", _only(a__gguf=b"GGUF"))("a directory of GGUF files (a.gguf)"),
    _model("architecture", b.stated(model_type="lama"))("the model_type `lama`", "does not know"),
    _model("architecture, T5", b.stated(model_type="t5"))(
        "`t5`, which is no causal language model"
    ),
    _model("no architecture", b.stated(model_type=None))("names no model_type"),
    _model("its own code", b.stated(model_type="own", auto_map={"AutoConfig": "c.C"}))(
        "brings Python code of its own", "trust_remote_code"
    ),
    _model("sizes", b.stated(hidden_size="64"))("config.json", "hidden_size"),
    _model("settings", b.cut_off("generation_config.json"))("generation_config.json that is not"),
    _model("ends", b.stated(), b.written("generation_config.json", '{"eos_token_id": "x"}'))(
        "eos_token_id"
    ),
]
REFERENCES = [
    Bad(ref[:50], words, sets=(f"{{field}}={ref}",), files={"m.gguf": content, "w.pt": "x"})
    for ref, content, *words_ in (
        ("{place}/none", "", "none does not exist; give a Hugging Face directory"),
        ("{place}/none.gguf", "", "the GGUF file {place}/none.gguf does not exist"),
        ("{place}/recipe.yaml", "", "is a file and no model"),
        ("{place}/w.pt", "", "is a file of pickled weights"),
        ("{place}/m.gguf", "", "m.gguf is empty"),
        ("{place}/m.gguf", "GGML" * 9, "m.gguf is no GGUF file"),
        ("{place}/m.gguf", LFS, "m.gguf is a Git LFS pointer", "git lfs pull"),
        ("{place}/m.gguf", b"GGUF\x09\0\0\0" + bytes(32), "is of version 9 of GGUF"),
        ("{place}/m.gguf", b"GGUF\x03\0\0\0" + b"\xff" * 40, "m.gguf is cut off or damaged"),
        ("package:no-such-potstill", "", "the package no-such-potstill is not installed"),
        ("package:rich", "", "the package rich holds 0 .gguf files"),
        ("'package:'", "", "names no package"),
        ("''", "", "name is empty"),
        ("~nobody-9/model", "", "lies in a home directory that is not known"),
    )
    for words in [tuple(words_)]
]

_SERVED = (
    "teacher.model=served",
    "student.model={nano}",
    "train.cross_entropy=1",
    "collect.targets=none",
    "shrink.drop_layers=0",
)


def _served(endpoint: str, *words: str, more: tuple[str, ...] = ()) -> Bad:
    sets = (*_SERVED, f"teacher.endpoint={{provider: me, {endpoint}}}", *more)
    return Bad(endpoint[:60], words, sets)


_MAY = ("teacher.terms.authorisation={may}",)
_URL = "url: 'http://127.0.0.1:9/v1'"
SERVERS = [
    _served("url: localhost", "teacher.endpoint.url must be a URL"),
    _served("url: 'ftp://h/v1'", "teacher.endpoint.url must be a URL"),
    _served("url: 'http://u:p@h/v1'", "must hold neither a user, a key nor a query"),
    _served("url: 'http://h/v1?key=1'", "neither a user, a key nor a query"),
    _served(f"{_URL}, key_env: sk-123", "key_env must be the NAME of an environment variable"),
    _served(f"{_URL}, budget: 1", "budget needs teacher.endpoint.price_in"),
    _served(f"{_URL}, budget: yes", "teacher.endpoint.budget must be a number, but `yes`"),
    _served(f"{_URL}, timeout_s: 1:30", "teacher.endpoint.timeout_s must be a number"),
    _served(f"{_URL}, max_in_flight: 0", "teacher.endpoint.max_in_flight must be at least 1"),
    _served(f"{_URL}, tries: 2.0", "teacher.endpoint.tries must be a whole number", "write 2"),
    _served(f"{_URL}, extra: {{n: 2}}", "extra must not hold n"),
    _served(f"{_URL}, extra: {{a: off}}", "teacher.endpoint.extra.a is `off`"),
    _served(f"{_URL}, extra: {{a: 010}}", "teacher.endpoint.extra.a is `010`"),
    _served(f"{_URL}, extra: {{a: 2026-01-01}}", "a date; put it in quotes"),
    _served(f"{_URL}, top_logprobs: 4", "top_logprobs 4 and collect.targets none"),
    _served(f"{_URL}, key_env: POTSTILL_NO_KEY", "POTSTILL_NO_KEY", more=_MAY),
    _served(f"{_URL}, tries: 1", "127.0.0.1:9", more=_MAY),
    _served(_URL, "teacher.trust_remote_code and", more=("teacher.trust_remote_code=true",)),
    _served(_URL, "magpie and teacher.endpoint", more=("prompts.source=magpie",)),
    _served(_URL, "student.model", more=("student.model=null",)),
    _served(_URL, "student.model: the model", more=("student.model={place}/none",)),
]


_FORM = "authorisation: 1\nwho: A\nwhat: some/model\nuntil: 2999-01-01\n"


def _terms(name: str, *words: str, letter: str | bytes | None = None, **files: str) -> Bad:
    """Return a teacher with these files, whose names have `__` for a dot, or an authorisation."""
    breaks = [b.written(file.replace("__", "."), text) for file, text in files.items()]
    sets = ["teacher.model={place}/model"]
    if letter is not None:
        sets.append("teacher.terms.authorisation={place}/letter.txt")
    written = {} if letter is None else {"letter.txt": letter}
    return Bad(name, words, tuple(sets), files=written, model=tuple(breaks))


TERMS = [
    _terms("a card against its LICENSE", "contradict each other", LICENSE=MIT),
    _terms("a LICENSE of other words", "potstill has no facts on", LICENSE="Ask us."),
    _terms("a policy of use", "USE_POLICY.md is a policy of use", USE_POLICY__md="Not for this."),
    _terms(
        "a base that forbids", "made from x/llama-3-8b", README__md=card(base_model="x/llama-3-8b")
    ),
    _terms("a base that nobody knows", "made from x/y, which", README__md=card(base_model="x/y")),
    _terms(
        "a student's terms, damaged", "student-terms.json states", **{"student-terms.json": "{}"}
    ),
    _terms("one that ended", "ended on 2020-01-01", letter=_FORM.replace("2999", "2020")),
    _terms("one for another model", "is for some/model, and not for", letter=_FORM),
    _terms("one of another form", "is of form 2", letter=_FORM.replace(": 1", ": 2")),
    _terms("one without an end", "does not say until", letter=_FORM.partition("until")[0]),
    _terms("one that is no text", "is no text file", letter=b"%PDF-1.7\n\x00\xff"),
    Bad(
        "a base without a licence",
        ("the student's base", "state no licence", "student.licence"),
        ("student.model={place}/model", "shrink.drop_layers=0"),
        model=(lambda directory: (directory / "README.md").unlink(),),
    ),
    Bad(
        "a name that a licence does not take",
        ("has to begin with Llama", "student.intent to internal"),
        ("teacher.model={place}/model",),
        model=(b.written("README.md", card(license="llama3.1")),),
    ),
    _set("student.kind=classifier", "student.kind classifier needs a task with labels"),
    _set("student.licence=mit", "student.licence is that of student.model, which is not set"),
    _set("student.intent=sell", "student.intent"),
]
