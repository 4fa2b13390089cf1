"""Load a network or a tokenizer, and refuse one that is not what its files hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potstill.durable import os_reason
from potstill.errors import PotstillError
from potstill.models.files import integer_tensors, named
from potstill.models.quiet import quiet_transformers

# Words of a library that are passed on: enough to name a field, too few to be a page.
_WORDS = 200
# Parts of a model for more than text; where its text part alone is loaded, they are left out.
_OTHER_SENSES = re.compile(r"vision|visual|image|audio|speech|projector|connector|merger|\bvq")
# The class of another exception inside a message.
_CLASS = re.compile(r"\b\w+(Error|Exception): ")
_BLOCK = re.compile(r"^(?P<list>.*?)\.(?P<block>\d+)\.")
# Values looked at in one go when the first that is not finite is searched.
_ROWS_AT_ONCE = 4096


def checked_tokenizer(directory: Path, ref: str, *, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer of a directory; raises PotstillError where no library can read it."""
    from transformers import AutoConfig, AutoTokenizer

    _check_architecture(_config_of(directory), ref, trust_remote_code=trust_remote_code)
    # A tokenizer's class follows from the config, so that a fault in it is none of the tokenizer.
    with one_sentence(
        f"the config.json of the model {ref} cannot be read by transformers",
        "correct it, or fetch it again",
    ):
        AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    with one_sentence(
        f"the tokenizer of the model {ref} cannot be loaded by transformers",
        "check its tokenizer.json and tokenizer_config.json",
    ):
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=trust_remote_code)


def checked_network(
    directory: Path,
    ref: str,
    dtype: torch.dtype,
    *,
    trust_remote_code: bool = False,
    kind: Any = None,
) -> Any:
    """Return the causal language model that a directory holds, every weight read from its files.

    `kind` is the class to load, where it is known. Raises PotstillError naming `ref` and the
    tensors that are missing, left over, of another shape or not finite.
    """
    from transformers import AutoModelForCausalLM

    _check_architecture(_config_of(directory), ref, trust_remote_code=trust_remote_code)
    with (
        one_sentence(
            f"the model {ref} cannot be loaded by transformers", "check its config.json and weights"
        ),
        quiet_transformers(),
    ):
        network, info = (kind or AutoModelForCausalLM).from_pretrained(
            directory,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            # Otherwise only the first words of a table are raised; here each tensor is named.
            ignore_mismatched_sizes=True,
        )
    found = [
        *disagreements(network, info, _config_of(directory)),
        *_whole_numbers(network, integer_tensors(directory)),
    ]
    if found:
        raise PotstillError(
            f"the model {ref} is not what its config.json describes: {'; '.join(found)}; bring "
            "back the config.json and the weights that belong together"
        )
    broken = not_finite(network)
    if broken:
        raise PotstillError(
            f"the model {ref} holds values that are not finite in {named(broken)}; fetch or save "
            "its weights again"
        )
    return network


def disagreements(network: Any, info: Mapping[str, Any], stated: Mapping[str, Any]) -> list[str]:
    """Return how weights differ from what a network needs, one phrase each.

    `info` is what transformers reports of loading them, and `stated` the config as it is
    written. Tied heads, buffers that are never saved and what an architecture itself leaves out
    are no difference.
    """
    found, config = [], network.config.get_text_config()
    missing = sorted(info["missing_keys"])
    if missing:
        hint = _hint(_missing_hint(network, config, missing))
        found.append(f"the files lack {named(missing)}{hint}")
    text_alone = network.config.model_type != stated.get("model_type", network.config.model_type)
    left_over = sorted(
        name
        for name in info["unexpected_keys"]
        if not (text_alone and _OTHER_SENSES.search(".".join(name.split(".")[:2])))
    )
    if left_over:
        hint = _hint(_left_over_hint(network, config, left_over))
        found.append(f"it has no place for the files' {named(left_over)}{hint}")
    shapes = sorted(info["mismatched_keys"], key=lambda entry: str(entry[0]))
    if shapes:
        name, held, wanted = shapes[0]
        rest = f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""
        hint = _hint(_shape_hint(config, held, wanted))
        found.append(f"{name}{rest} is {_shape(held)} in the files, not {_shape(wanted)}{hint}")
    found += _untied(network, config)
    return found


def not_finite(network: Any) -> list[str]:
    """Return the tensors of a network that hold NaN or an infinity, with the first such row.

    An output bias may hold -inf: that is how a head says that a token never comes.
    """
    output = network.get_output_embeddings()
    bias = getattr(output, "bias", None)
    found, seen = [], set()
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if not torch.is_tensor(tensor) or not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        values = tensor.detach()
        if tensor is bias:
            values = values.masked_fill(values == float("-inf"), 0.0)
        # One number is quick to look at: what is not finite stays so in a sum. A sum that runs
        # over is looked at again.
        if bool(torch.isfinite(values.sum(dtype=torch.float32))):
            continue
        row = _first_bad_row(values)
        if row is not None:
            found.append(f"{name} (first in row {row})")
    return found


def _first_bad_row(values: Tensor) -> int | None:
    rows_RC = values.reshape(values.shape[0], -1) if values.dim() > 1 else values.reshape(-1, 1)
    for start in range(0, len(rows_RC), _ROWS_AT_ONCE):
        bad_R = ~torch.isfinite(rows_RC[start : start + _ROWS_AT_ONCE]).all(dim=1)
        if bool(bad_R.any()):
            return start + int(bad_R.nonzero()[0])
    return None


def _untied(network: Any, config: Any) -> list[str]:
    """Return a phrase where the config ties the head to the embedding and the files hold two."""
    output, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    weights = [getattr(module, "weight", None) for module in (output, embedding)]
    tied = getattr(config, "tie_word_embeddings", False)
    if not tied or any(w is None for w in weights) or weights[0] is weights[1]:
        return []
    names = {id(w): name for name, w in network.named_parameters(remove_duplicate=False)}
    head, table = (names.get(id(w)) for w in weights)
    declared = getattr(network, "_tied_weights_keys", None) or {}
    if head not in declared or table is None:
        return []
    return [
        f"tie_word_embeddings is true, and the files' {head} is another matrix than their {table}"
    ]


def _whole_numbers(network: Any, names: list[str]) -> list[str]:
    """Return a phrase where files hold integers for weights: they would be cut off or unscaled."""
    if getattr(network.config, "quantization_config", None) is not None:
        return []
    tensors, prefix = network.state_dict(), f"{network.base_model_prefix}."
    wrong = [
        name
        for name in names
        if any(n in tensors and tensors[n].is_floating_point() for n in (name, prefix + name))
    ]
    return [f"the files hold whole numbers for {named(wrong)}"] if wrong else []


def _missing_hint(network: Any, config: Any, missing: list[str]) -> str | None:
    output = network.get_output_embeddings()
    names = {name for name, w in network.named_parameters() if w is getattr(output, "weight", None)}
    if set(missing) <= names and not getattr(config, "tie_word_embeddings", False):
        return "tie_word_embeddings is false"
    lists: dict[str, set[int]] = {}
    for name in network.state_dict():
        if (match := _BLOCK.match(name)) and name not in missing:
            lists.setdefault(match["list"], set()).add(int(match["block"]))
    lost = [_BLOCK.match(name) for name in missing]
    if any(match is None or int(match["block"]) in lists.get(match["list"], ()) for match in lost):
        return None
    held = {len(lists.get(match["list"], ())) for match in lost if match is not None}
    return _blocks_hint(config, held.pop()) if len(held) == 1 else None


def _left_over_hint(network: Any, config: Any, names: list[str]) -> str | None:
    blocks = [_BLOCK.match(name) for name in names]
    count = getattr(config, "num_hidden_layers", None)
    if count is None or any(m is None or int(m["block"]) < count for m in blocks):
        return None
    return _blocks_hint(config, 1 + max(int(m["block"]) for m in blocks if m is not None))


def _blocks_hint(config: Any, held: int) -> str | None:
    count = getattr(config, "num_hidden_layers", None)
    if count is None or count == held:
        return None
    field = getattr(config, "attribute_map", {}).get("num_hidden_layers", "num_hidden_layers")
    return f"{field} is {count}, and the files hold {held} blocks"


def _shape_hint(config: Any, held: Any, wanted: Any) -> str | None:
    """Return the one size field of a config that states the extent that is wrong."""
    if len(held) != len(wanted):
        return None
    differing = {w for h, w in zip(held, wanted, strict=True) if h != w}
    fields = [
        name
        for name, value in config.to_dict().items()
        if isinstance(value, int)
        and not isinstance(value, bool)
        and value in differing.difference(held)
        and not name.endswith("_id")
    ]
    return f"{fields[0]} is {getattr(config, fields[0])}" if len(fields) == 1 else None


def _hint(words: str | None) -> str:
    return f" ({words})" if words else ""


def _shape(extents: Any) -> str:
    return " x ".join(str(int(n)) for n in extents) or "one number"


def _check_architecture(config: Mapping[str, Any], ref: str, *, trust_remote_code: bool) -> None:
    """Raise PotstillError where transformers knows no language model of a config's kind."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    kind, own_code = config.get("model_type"), "auto_map" in config
    if own_code and (trust_remote_code or kind in CONFIG_MAPPING):
        return
    if own_code:
        raise PotstillError(
            f"the model {ref} brings Python code of its own (auto_map in its config.json); set "
            "teacher.trust_remote_code to true where it is the teacher and you trust the code, or "
            "take another model"
        )
    if not isinstance(kind, str) or not kind:
        raise PotstillError(
            f"the config.json of the model {ref} names no model_type, which says what it is; "
            "fetch that file again"
        )
    if kind not in CONFIG_MAPPING:
        raise PotstillError(
            f"the config.json of the model {ref} names the model_type `{kind}`, an architecture "
            f"that transformers {transformers.__version__} does not know; correct it, update "
            "transformers, or take another model"
        )
    if CONFIG_MAPPING[kind] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise PotstillError(
            f"the config.json of the model {ref} names the model_type `{kind}`, which is no causal "
            "language model: it does not write text token by token; take another model"
        )


def _config_of(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return content


@contextmanager
def one_sentence(fault: str, way_out: str) -> Iterator[None]:
    """Turn whatever a library raises on a user's files into one sentence, with its own words in it.

    Which exception it is depends on the file and on the library's version, so none is left out
    but the memory's.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, PotstillError):
        raise
    except Exception as error:
        raise PotstillError(f"{fault} ({first_words(error)}); {way_out}") from error


def first_words(error: BaseException) -> str:
    """Return the first sentence of a library's message, on one line and not too long.

    An exception's class says nothing to a user: where there is no message, nothing is known.
    """
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]!r} is not known or not there"[:_WORDS]
    reason = os_reason(error) if isinstance(error, OSError) else None
    words = _CLASS.sub("", " ".join(str(error).split())).split(". ")[0].rstrip(".")
    words = reason or words or "the library gives no reason"
    return words if len(words) <= _WORDS else f"{words[:_WORDS].rstrip()} ..."
