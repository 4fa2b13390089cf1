"""Load, save and open up models: directories, hub ids, GGUF files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from potstill.durable import write_errors
from potstill.errors import PotstillError
from potstill.models import gguf
from potstill.models.checked import checked_network, checked_tokenizer, one_sentence
from potstill.models.conversation import Conversation, with_defaults
from potstill.models.files import check_directory
from potstill.models.head import Head
from potstill.models.head_form import learnt_form, stated_form
from potstill.models.identity import identity_of, tokenizer_id_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import resolve_device, resolve_dtype
from potstill.models.reference import local_path
from potstill.models.saved_form import make_readable

# Licences, notices and policies of use, which the terms gate reads; case counts.
_NAMED = ("license*", "licence*", "copying*", "notice*", "*policy*", "*terms*")
_TERMS = [form for name in _NAMED for form in (name, name.title(), name.upper())]


def locate(ref: str, *, revision: str | None = None) -> Path:
    """Return the local Hugging Face directory that a model reference stands for.

    `ref` is a directory, a `.gguf` file, `package:NAME`, or a hub id (downloaded, safetensors
    only). Raises PotstillError where nothing usable is there.
    """
    path = local_path(ref)
    if path is None:
        directory = _downloaded(ref, revision)
    elif path.is_dir():
        directory = path
    else:
        package = ref.removeprefix("package:") if ref.startswith("package:") else None
        directory = _converted(gguf.package_file(package) if package else path, ref)
    check_directory(directory, ref)
    return directory


def stated_by(ref: str, *, revision: str | None = None) -> Path:
    """Return what states a model's licence: its GGUF file, as it is, or its directory.

    Raises PotstillError as `locate`.
    """
    path = local_path(ref)
    if path is None or path.is_dir():
        return locate(ref, revision=revision)
    package = ref.removeprefix("package:") if ref.startswith("package:") else None
    return gguf.package_file(package) if package else path


def load(
    ref: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    trainable: bool = False,
    template_arguments: Mapping[str, Any] | None = None,
    date: str | None = None,
) -> LoadedModel:
    """Return a model ready to be asked, or to be trained.

    A model that is only asked holds its weights in the compute dtype; a trainable one holds
    fp32 master weights. `template_arguments` and `date` are its chat template's. Raises
    PotstillError where the model cannot be used.
    """
    directory = locate(ref, revision=revision)
    where = resolve_device(device)
    dtype = resolve_dtype(precision, where)
    tokenizer = checked_tokenizer(directory, ref, trust_remote_code=trust_remote_code)
    network = checked_network(
        directory,
        ref,
        torch.float32 if trainable else dtype,
        trust_remote_code=trust_remote_code,
    )
    network = network.to(where).eval()
    conversation = Conversation.of(
        tokenizer,
        stop_ids=stated_ends(network.generation_config, ref),
        arguments=template_arguments,
        date=date,
        name=ref,
    )
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        identity=identity_of(directory),
        tokenizer_id=tokenizer_id_of(directory),
        device=where,
        compute_dtype=dtype,
        conversation=conversation,
        eos_ids=conversation.stop_ids,
        source=ref,
        directory=directory,
        head_form=learnt_form(network, tokenizer, where, ref),
    )


def load_tokenizer(directory: Path, *, trust_remote_code: bool = False) -> Any:
    """Return a model's tokenizer without its weights."""
    return checked_tokenizer(directory, str(directory), trust_remote_code=trust_remote_code)


def load_conversation(
    ref: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    template_arguments: Mapping[str, Any] | None = None,
    date: str | None = None,
) -> Conversation:
    """Return how a model is spoken to, read without its weights."""
    directory = locate(ref, revision=revision)
    return Conversation.of(
        load_tokenizer(directory, trust_remote_code=trust_remote_code),
        stop_ids=stated_ends(_generation_config(directory), ref),
        arguments=template_arguments,
        date=date,
        name=ref,
    )


def stated_ends(generation_config: Any, ref: str) -> tuple[int, ...]:
    """Return the ids at which the generation config of the model `ref` has it stop."""
    stated = getattr(generation_config, "eos_token_id", None)
    ids = [] if stated is None else stated if isinstance(stated, list | tuple) else [stated]
    if any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
        raise PotstillError(
            f"the model {ref} has a generation_config.json whose eos_token_id is no token id, nor "
            "a list of some; write the ids of the tokens that end an answer"
        )
    return tuple(ids)


def trainable_copy(model: LoadedModel) -> LoadedModel:
    """Return the model again with fp32 weights of its own, read from its files where it has any."""
    if model.directory is None or next(model.network.parameters()).dtype == torch.float32:
        return replace(model, network=copy.deepcopy(model.network).float())
    network = checked_network(
        model.directory, model.source, torch.float32, kind=type(model.network)
    )
    return replace(model, network=network.to(model.device).eval())


def save(model: LoadedModel, directory: Path) -> None:
    """Write a model so that plain transformers loads it: safetensors, config, tokenizer.

    Both 5 and 4.57 do, or a README.md in the directory names the version that it needs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _state_ends(model)
    model.network.save_pretrained(directory)
    _stating(model).save_pretrained(directory)
    make_readable(directory)


def reidentified(model: LoadedModel, directory: Path) -> LoadedModel:
    """Return the model under the identity of what was saved in `directory`."""
    return replace(
        model,
        identity=identity_of(directory),
        tokenizer_id=tokenizer_id_of(directory),
        source=str(directory),
        directory=directory,
    )


def body_of(network: Any) -> Any:
    """Return the transformer without its head: ids to final hidden states after the last norm."""
    return network.base_model


def blocks_of(network: Any) -> nn.ModuleList:
    """Return the list of transformer blocks, for any decoder of transformers.

    Raises PotstillError where it cannot be told which list that is.
    """
    count = network.config.get_text_config().num_hidden_layers
    for module in network.base_model.children():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise PotstillError(
        f"potstill does not know where {type(network).__name__} keeps its blocks; "
        "set shrink.drop_layers and train.frozen_blocks to 0"
    )


def head_of(model: LoadedModel) -> Head:
    """Return the output head, sharing the network's weights."""
    output = model.network.get_output_embeddings()
    form = model.head_form or stated_form(model.network.config.get_text_config())
    return Head(
        weight_VD=output.weight,
        bias_V=getattr(output, "bias", None),
        softcap=form.softcap,
        scale=form.scale,
        tokens=min(len(model.tokenizer), output.weight.shape[0]),
    )


def context_length(model: LoadedModel) -> int:
    """Return how many tokens the model can read at once."""
    return _context(model.network.config)


def stated_context(ref: str, *, revision: str | None = None) -> int:
    """Return how many tokens a model can read at once, from its config alone."""
    from transformers import AutoConfig

    return _context(AutoConfig.from_pretrained(locate(ref, revision=revision)))


def _context(config: Any) -> int:
    text = config.get_text_config()
    longest = int(getattr(text, "max_position_embeddings", None) or 2**31)
    return min([longest, *_first_contexts(getattr(text, "rope_parameters", None))])


def _first_contexts(rotary: Any) -> list[int]:
    """Return the lengths up to which positions turn one way, where they turn another way beyond.

    With `longrope` all positions of a batch depend on its longest text. So a row would depend on
    the rows beside it, and a kept key on how long its text becomes: what is longer is not read.
    """
    if not isinstance(rotary, dict):
        return []
    by_kind = [kind for kind in rotary.values() if isinstance(kind, dict)]
    turned = [kind for kind in (rotary, *by_kind) if kind.get("rope_type") == "longrope"]
    return [int(n) for kind in turned if (n := kind.get("original_max_position_embeddings"))]


def _generation_config(directory: Path) -> Any:
    """Return a directory's generation config as transformers reads it; None where it has none."""
    from transformers import GenerationConfig

    if not (directory / "generation_config.json").is_file():
        return None
    return GenerationConfig.from_pretrained(directory)


def _stating(model: LoadedModel) -> Any:
    """Return a model's tokenizer, whose chat template has what it is given as defaults."""
    arguments = model.conversation.arguments
    if not arguments:
        return model.tokenizer
    tokenizer = copy.deepcopy(model.tokenizer)
    stated = tokenizer.chat_template
    tokenizer.chat_template = (
        {name: with_defaults(text, arguments) for name, text in stated.items()}
        if isinstance(stated, dict)
        else with_defaults(stated, arguments)
    )
    return tokenizer


def _state_ends(model: LoadedModel) -> None:
    """Have a model's generation config name every id at which it is to stop."""
    from transformers import GenerationConfig

    if model.network.generation_config is None:
        model.network.generation_config = GenerationConfig()
    stops = model.conversation.stop_ids
    if set(stated_ends(model.network.generation_config, model.source)) != set(stops):
        model.network.generation_config.eos_token_id = stops[0] if len(stops) == 1 else list(stops)


def _converted(file: Path, ref: str) -> Path:
    with one_sentence(f"the GGUF file {ref} cannot be read", "fetch it again"):
        return gguf.converted(file)


def _downloaded(ref: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "README.md", "*.txt", *_TERMS]
    cache = Path(constants.HF_HUB_CACHE)
    try:
        with write_errors(cache, "set HF_HOME to a folder that you may write"):
            return Path(snapshot_download(ref, revision=revision, allow_patterns=patterns))
    except PotstillError:
        raise
    except Exception as error:
        raise PotstillError(f"the model {ref} {_not_downloaded(error, revision)}") from error


def _not_downloaded(error: Exception, revision: str | None) -> str:
    """Return why the hub gave nothing, and the way out."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "is gated on the hub; accept its terms there and log in (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision or 'main'} on the hub; name a branch, tag or commit"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "is neither a local directory nor a model on the hub; check the name, or log in (hf "
            "auth login) where it is private"
        )
    if isinstance(error, errors.HFValidationError):
        return "is neither a local directory nor a hub id (owner/name); check the name"
    return (
        "is neither a local directory nor to be had from the hub (it cannot be reached); check "
        "the name and the network"
    )
