"""A server with a real model behind it: it answers chats, and reads given text as vLLM does."""

from __future__ import annotations

from typing import Any

from fault_server import Behaviour
from potstill.models.chat import prompt_ids
from potstill.models.generate import Request, completions
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Chooser, Sampling, drawn
from reading_server import ReadingServer


class SpeakingServer(ReadingServer):
    """Draws its answers by the request's own seed, with `choose`, by which they may be marked."""

    def __init__(self, model: LoadedModel, *, choose: Chooser = drawn, shift: int = 0) -> None:
        super().__init__(model, Behaviour(model="smollm2-nano"), shift=shift)
        self._choose = choose

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        answer = super()._answer(body, model)
        if "messages" in body:
            reader = self._reader
            request = Request(str(body["seed"]), prompt_ids(reader, body["messages"]))
            sampling = Sampling(body["temperature"], max_tokens=body["max_tokens"])
            (done,) = completions(reader, [request], sampling, choose=self._choose)
            text = reader.tokenizer.decode(list(done.token_ids), skip_special_tokens=True)
            answer["choices"][0]["message"]["content"] = text
        return answer
