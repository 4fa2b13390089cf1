"""Forward and backward in bf16 over fp32 master weights.

Autocast would do the same, but it keeps the residual stream in fp32 and casts at every layer: on
a CPU that costs more than the products save. So the body runs as a bf16 copy that is refreshed
after every update. The embedding and the head stay the fp32 masters, whose gradients are sums
over many tokens.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from potstill.errors import PotstillError
from potstill.models.inner import watched
from potstill.models.load import blocks_of, body_of
from potstill.models.precision import multiplies_fp32_by_onednn
from potstill.recipe import TrainConfig
from potstill.train import attention
from potstill.train.activations import recomputed_activations

# Compiling takes a quarter of a minute; on an H100 it took a quarter off steps of a seventh of a
# second (a trial by hand).
_STEPS_TO_COMPILE_FOR = 500
# What torch.compile makes of a block.
_BACKEND = "inductor"
# What `elementwise` keeps: linear layers, and attention where it is one operation.
_PRODUCTS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)


def _freeze(network: Any, count: int) -> None:
    """Let the first `count` blocks and every embedding before them ask for no gradient.

    An embedding that is also the head goes on learning as the head.
    """
    blocks = blocks_of(network)
    if count >= len(blocks):
        raise PotstillError(
            f"train.frozen_blocks is {count}, but the student has {len(blocks)} blocks; freeze "
            "fewer of them"
        )
    head = network.get_output_embeddings().weight
    for module in body_of(network).modules():
        # Learned positions are one too; a gradient to them would cross the frozen blocks.
        if isinstance(module, nn.Embedding) and module.weight is not head:
            module.requires_grad_(False)
    for block in blocks[:count]:
        block.requires_grad_(False)


class ComputeBody:
    """The student's transformer as training runs it; in fp32 with the network's own weights.

    `longest` is the length of the longest sequence. The first `frozen_blocks` blocks and the
    input embedding are held as they are, without any memory for their gradients. With
    `checkpointing` a trained block keeps its input alone, and backward computes the rest again.
    Without it `compiled` blocks run as torch.compile makes them, which chooses what they keep.
    Raises PotstillError where no block would be left to train, or cannot be computed again.
    """

    def __init__(
        self,
        network: Any,
        dtype: torch.dtype,
        longest: int,
        frozen_blocks: int = 0,
        *,
        checkpointing: Literal["none", "elementwise", "blocks"] = "none",
        compiled: bool = False,
    ) -> None:
        self._embedding = network.get_input_embeddings()
        self._frozen, self._compiled = frozen_blocks, compiled
        if frozen_blocks:
            _freeze(network, frozen_blocks)
        self._dtype = dtype
        self._body, self._pairs = _copy(network, dtype)
        # Its matrix and the head's are one and the same memory, with a gradient each.
        self._tied = None if self._frozen else _tied_embedding(network)
        self._plain = self._body.config._attn_implementation
        if self._plain == "sdpa" and not compiled and self._attends_by_products(longest):
            attention.make_known()
            self._plain = attention.NAME
            self._body.set_attn_implementation(self._plain)
        self._kept: Any = nullcontext
        if checkpointing != "none":
            _recompute(self._body, keep_products=checkpointing == "elementwise")
        elif compiled:
            _compile(self._body)
        else:
            self._kept = recomputed_activations

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self._embedding.weight.device
        return device

    @property
    def takes_positions(self) -> bool:
        """Whether the body can be told at which position each token stands."""
        return "position_ids" in inspect.signature(self._body.forward).parameters

    def use_flex_attention(self) -> bool:
        """Attend with FlexAttention, which skips what a mask hides; return whether that works."""
        # It knows no dropout.
        dropout = getattr(self._body.config.get_text_config(), "attention_dropout", 0.0)
        if dropout:
            return False
        try:
            self._body.set_attn_implementation("flex_attention")
        except (ValueError, ImportError):
            return False
        return bool(self._body.config._attn_implementation == "flex_attention")

    def use_plain_attention(self) -> None:
        """Attend again as at first."""
        self._body.set_attn_implementation(self._plain)

    @property
    def bytes_a_token(self) -> int:
        """What the states of one token take between two blocks."""
        return int(self._embedding.weight.shape[1]) * self._dtype.itemsize

    @property
    def enters_the_same(self) -> bool:
        """Whether what the first trained block is given of a text never changes in training."""
        weight = self._embedding.weight
        moves = weight.requires_grad or isinstance(weight, DTensor) or self._compiled
        return self._frozen > 0 and not moves and not _has_dropout(self._body, self._frozen)

    def hidden(
        self, ids_BT: Tensor, positions_BT: Tensor | None = None, entry_BTD: Tensor | None = None
    ) -> Tensor:
        """Return the final hidden states hidden_BTD, in the compute dtype.

        Positions that restart within a row start a sequence of its own there. Where what the
        frozen blocks give is known already, `entry_BTD` is it, and they do not run.
        """
        # Padding is on the right, where causal attention cannot see it: no mask is needed.
        embedded_BTD = (self._tied or self._embedding)(ids_BT).to(self._dtype)
        if self._frozen:
            embedded_BTD = embedded_BTD.detach()
        places = {} if positions_BT is None else {"position_ids": positions_BT}
        with self._kept(), self._passed_over(entry_BTD):
            output = self._body(inputs_embeds=embedded_BTD, use_cache=False, **places)
        hidden_BTD: Tensor = output.last_hidden_state
        return hidden_BTD

    @contextmanager
    def giving(self, blocks: Sequence[int]) -> Iterator[Mapping[int, Tensor]]:
        """Yield what holds the states hidden_BTD that some blocks give, once `hidden` has run.

        They are part of its graph. Raises ValueError for compiled blocks, which do not show them.
        """
        if not blocks:
            yield {}
            return
        if self._compiled:
            raise ValueError("compiled blocks do not show what they give")
        with watched(list(blocks_of(self._body)), blocks) as found:
            yield found

    def hidden_and_entry(
        self, ids_BT: Tensor, positions_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return hidden_BTD, and what the first trained block was given: None if that is not one
        state a token."""
        found: list[Any] = []

        def keep(_: Any, __: Any, output: Any) -> None:
            found.append(output)

        handle = blocks_of(self._body)[self._frozen - 1].register_forward_hook(keep)
        try:
            hidden_BTD = self.hidden(ids_BT, positions_BT)
        finally:
            handle.remove()
        entry = found[0]
        one_each = isinstance(entry, Tensor) and entry.shape[:-1] == ids_BT.shape
        return hidden_BTD, entry.detach() if one_each else None

    @contextmanager
    def _passed_over(self, entry_BTD: Tensor | None) -> Iterator[None]:
        """Have the last frozen block return the entry, and those before it what they are given.

        They stay in their places: a network may count them, and ask each for its kind of mask.
        """
        frozen = [] if entry_BTD is None else list(blocks_of(self._body))[: self._frozen]
        for block in frozen:
            block.forward = _given
        if frozen:
            frozen[-1].forward = lambda *_, **__: entry_BTD
        try:
            yield
        finally:
            for block in frozen:
                del block.forward

    def weights(self) -> Mapping[str, nn.Parameter]:
        """Return its weights as it computes with them, by their names in the network's body.

        The input embedding is not among them: the masters are read.
        """
        return dict(self._body.named_parameters())

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Add the copy's gradients to the masters' and clear them; call after each backward."""
        tied = [] if self._tied is None else [(self._embedding.weight, self._tied.weight)]
        for master, working in [*self._pairs, *tied]:
            if working.grad is None:
                continue
            if master.grad is None:
                master.grad = working.grad.float().to_dense()
            else:
                master.grad += working.grad
            working.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the masters' weights; call after each update."""
        for master, working in self._pairs:
            working.copy_(master)

    def _attends_by_products(self, longest: int) -> bool:
        """Return whether attention is faster as plain products than by PyTorch's fused kernel."""
        if self.device.type != "cpu" or longest > attention.LONGEST:
            return False
        # In fp32 these are only faster where the products themselves are.
        return self._dtype == torch.bfloat16 or multiplies_fp32_by_onednn()

    def train(self) -> None:
        """Switch to training mode (dropout where the model has any, checkpointing)."""
        self._body.train()


def _given(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


def _has_dropout(body: Any, frozen: int) -> bool:
    """Tell whether anything is dropped by chance before the first trained block."""
    trained = {id(m) for block in list(blocks_of(body))[frozen:] for m in block.modules()}
    before = (m for m in body.modules() if id(m) not in trained)
    dropping = any(isinstance(m, nn.Dropout) and m.p > 0 for m in before)
    return dropping or bool(getattr(body.config.get_text_config(), "attention_dropout", 0.0))


def _tied_embedding(network: Any) -> nn.Embedding | None:
    """Return the embedding as a module of its own where its matrix is the head's too, else None.

    Its gradient is sparse: the rows of the tokens that were read are added to the head's, and no
    second matrix of that size is filled with zeros.
    """
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    tied = head is not None and head.weight is embedding.weight
    if not tied or not head.weight.requires_grad or isinstance(head.weight, DTensor):
        return None
    alone: nn.Embedding = copy.deepcopy(
        embedding, memo={id(head.weight): nn.Parameter(head.weight.detach())}
    )
    alone.sparse = True
    return alone


def _recompute(body: Any, *, keep_products: bool) -> None:
    """Have each block keep its input alone for backward (Chen et al. 2016, arXiv 1604.06174), or
    with it what its matrix products gave, which is most of the work and a third of the memory."""
    # The name changed within transformers 5.
    enable = getattr(body, "activation_checkpointing_enable", None)
    # Reentrant checkpoints need an input with a gradient, which frozen blocks have not.
    options: dict[str, Any] = {"use_reentrant": False}
    if keep_products:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, list(_PRODUCTS))
    try:
        (enable or body.gradient_checkpointing_enable)(options)
    except ValueError as error:
        raise PotstillError(
            "this student's blocks cannot be computed again in backward; set "
            "train.gradient_checkpointing to none"
        ) from error


def _compile(body: Any) -> None:
    """Have each block run compiled: they are alike, so that one graph serves all of them."""
    try:
        blocks: Any = blocks_of(body)
    except PotstillError:
        blocks = [body]
    for block in blocks:
        block.compile(backend=_BACKEND)


def _copy(network: Any, dtype: torch.dtype) -> tuple[Any, list[tuple[Tensor, Tensor]]]:
    """Return the body without its embedding, and (master, copy) of the weights it trains.

    In the masters' own dtype they are the masters themselves. How it attends is its own all the
    same, so that what training sets does not stay with the network.
    """
    original = body_of(network)
    embedding = network.get_input_embeddings()
    # The embedding is not copied: a stand-in without weights takes its place.
    kept: dict[int, Any] = {id(embedding): nn.Identity()}
    if dtype == next(original.parameters()).dtype:
        kept |= {id(p): p for p in original.parameters()}
        return copy.deepcopy(original, memo=kept), []
    body = copy.deepcopy(original, memo=kept).to(dtype)
    masters = {
        name: p
        for name, p in original.named_parameters()
        if p is not embedding.weight and p.requires_grad
    }
    working = dict(body.named_parameters())
    return body, [(masters[name], working[name]) for name in masters]


def pays_to_compile(config: TrainConfig, device: torch.device, steps: int) -> bool:
    """Return whether the student's blocks are compiled."""
    if config.compile != "auto":
        return config.compile == "always"
    can = device.type == "cuda" and find_spec("triton") is not None
    # Compiled blocks do not show what they give.
    watches = config.hidden_matching is not None and config.hidden_matching.reads
    # Blocks with adapters have not been compiled on a GPU yet.
    return can and config.lora is None and not watches and steps >= _STEPS_TO_COMPILE_FOR
