"""A server that reads given text as vLLM does (`prompt_logprobs`), with a real model behind it."""

from __future__ import annotations

from typing import Any

import torch

from fault_server import Behaviour, FaultServer
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import hidden_states


class ReadingServer(FaultServer):
    """Tells the likeliest tokens of given ids, in the shape of vLLM's completions.

    As there, the first id has no entry, and a given token that is not among the likeliest is told
    beside them. `shift` is added to every id that it tells: another tokenizer's.
    """

    def __init__(
        self, model: LoadedModel, behaviour: Behaviour | None = None, *, shift: int = 0
    ) -> None:
        super().__init__(behaviour or Behaviour(model="smollm2-nano"))
        self._reader, self._shift = model, shift

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        if "prompt" not in body:
            return super()._answer(body, model)
        ids: list[int] = body["prompt"]
        choice: dict[str, Any] = {"index": 0, "text": " a", "finish_reason": "length"}
        if body.get("prompt_logprobs"):
            choice["prompt_logprobs"] = [None, *self._read(ids, body["prompt_logprobs"])]
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1, "total_tokens": len(ids) + 1}
        return {"object": "text_completion", "model": model, "choices": [choice], "usage": usage}

    def _read(self, ids: list[int], count: int) -> list[dict[str, dict[str, Any]]]:
        reader = self._reader
        with torch.inference_mode():
            logits_TV = head_of(reader).logits(hidden_states(reader, [ids])[0])
            width = len(reader.tokenizer)
            logp_TV = logits_TV[:, :width].float().log_softmax(-1)
        told = []
        for logp_V, given in zip(logp_TV, ids[1:], strict=False):
            best = logp_V.topk(count).indices.tolist()
            told.append({str(i + self._shift): self._entry(logp_V, i) for i in {*best, given}})
        return told

    def _entry(self, logp_V: torch.Tensor, token_id: int) -> dict[str, Any]:
        return {
            "logprob": float(logp_V[token_id]),
            "rank": int((logp_V > logp_V[token_id]).sum()) + 1,
            "decoded_token": self._reader.tokenizer.decode([token_id]),
        }
