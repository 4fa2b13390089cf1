"""Existing servers for a student: llama.cpp, transformers, vLLM. potstill writes none of its own.

All of them speak OpenAI's protocol. llama.cpp's runs inside this process, from its wheel; the
others are programs that are started with a command line.
"""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from potstill.errors import PotstillError

Engine = Literal["llama.cpp", "transformers", "vllm"]
ENGINES: tuple[Engine, ...] = ("llama.cpp", "transformers", "vllm")

_MISSING: dict[Engine, str] = {
    "llama.cpp": 'llama.cpp is not installed; run: pip install "potstill[gguf]"',
    "transformers": "transformers serve needs more packages; run: "
    'pip install "transformers[serving]"',
    "vllm": "vLLM is not installed; run: pip install vllm",
}
# Requests that llama.cpp answers at once; they share one context.
_SLOTS = 4
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """What a client on this machine takes as its base URL."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def is_installed(engine: Engine) -> bool:
    """Tell whether a server is there, without importing it."""
    if engine == "llama.cpp":
        return importlib.util.find_spec("xllamacpp") is not None
    if engine == "transformers" and not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))):
        return False
    return _program(engine) is not None


def require(engine: Engine) -> None:
    """Raise PotstillError, with the way to install it, where a server is not there."""
    if not is_installed(engine):
        raise PotstillError(_MISSING[engine])


def free_address(host: str, port: int) -> Address:
    """Return the address to listen on; port 0 stands for any free one.

    Raises PotstillError where the port is taken, or the host is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return Address(host, int(probe.getsockname()[1]))
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise PotstillError(f"--host {host} is no address of this machine") from error
        raise PotstillError(
            f"cannot listen on port {port} of {host} ({error.strerror}); is it taken? Choose "
            "another with --port"
        ) from error


def command(engine: Engine, directory: Path, name: str, address: Address) -> list[str]:
    """Return the command line of a server that is a program of its own."""
    require(engine)
    arguments = [_program(engine) or engine, "serve", str(directory)]
    arguments += ["--host", address.host, "--port", str(address.port)]
    # transformers gives a model no other name than its place.
    return arguments if engine == "transformers" else [*arguments, "--served-model-name", name]


def served_name(engine: Engine, directory: Path, name: str) -> str:
    """Return what a client has to call the model."""
    return str(directory) if engine == "transformers" else name


@contextmanager
def llama_cpp(gguf: Path, name: str, address: Address) -> Iterator[None]:
    """Serve a GGUF file from this process inside the block.

    Raises PotstillError where llama.cpp cannot load it.
    """
    require("llama.cpp")
    # Imported like this it needs no stubs, which it has none of.
    xllamacpp = importlib.import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    settings.model_alias = {name}
    settings.hostnames, settings.port = [address.host], address.port
    settings.n_parallel, settings.kv_unified = _SLOTS, True
    settings.verbosity = -1
    try:
        server = xllamacpp.Server(settings)
    except RuntimeError as error:
        raise PotstillError(
            f"llama.cpp cannot serve {gguf}; write the file again with `potstill export`, or look "
            "for another program on that port"
        ) from error
    try:
        # One that goes before it has answered anything may never end.
        _wait(lambda: _answers(address))
        yield
    finally:
        # It stops when the last reference goes.
        del server


@contextmanager
def program(arguments: Sequence[str], address: Address, patience_s: float) -> Iterator[None]:
    """Run a server's command line inside the block, from when it answers.

    Raises PotstillError where it ends before, or has not answered after `patience_s` seconds.
    """
    process = subprocess.Popen(arguments, stdout=sys.stderr)
    try:
        _until(lambda: _answers(address), process, patience_s)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(address: Address, model: str, text: str, *, chat: bool, max_tokens: int) -> str:
    """Return the answer to one message, asked through the official `openai` client.

    Raises PotstillError where the client is missing, or the server does not answer as it should.
    """
    try:
        import openai
    except ImportError as error:
        raise PotstillError("--check needs the package openai; run: pip install openai") from error
    client: Any = openai.OpenAI(base_url=address.url, api_key="none", timeout=120, max_retries=0)
    try:
        if chat:
            messages = [{"role": "user", "content": text}]
            answer = client.chat.completions.create(
                model=model, messages=messages, max_tokens=max_tokens, temperature=0
            )
            return str(answer.choices[0].message.content or "")
        answer = client.completions.create(
            model=model, prompt=text, max_tokens=max_tokens, temperature=0
        )
        return str(answer.choices[0].text or "")
    except (openai.OpenAIError, IndexError, AttributeError, TypeError) as error:
        raise PotstillError(
            f"the server at {address.url} did not answer as an OpenAI server does "
            f"({' '.join(str(error).split())[:200] or 'an answer without a choice'}); look at what "
            "it wrote"
        ) from error


def snippet(address: Address, model: str, *, chat: bool) -> str:
    """Return Python that asks the server through the official client."""
    ask_it = (
        f'answer = client.chat.completions.create(\n    model="{model}", '
        'messages=[{"role": "user", "content": "Hello"}]\n)\n'
        "print(answer.choices[0].message.content)"
        if chat
        else f'answer = client.completions.create(model="{model}", prompt="Hello", '
        "max_tokens=64)\nprint(answer.choices[0].text)"
    )
    start = f'client = OpenAI(base_url="{address.url}", api_key="none")'
    return f"from openai import OpenAI\n\n{start}\n{ask_it}"


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes], patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not ready():
        if process.poll() is not None:
            raise PotstillError(
                f"the server ended with status {process.returncode} before it answered; its last "
                "lines above say why"
            )
        if time.monotonic() > until:
            raise PotstillError(f"the server has not answered within {patience_s:.0f} seconds")
        time.sleep(0.2)


def _wait(ready: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Return when `ready` says so, or after some time: what is asked then tells what is wrong."""
    until = time.monotonic() + patience_s
    while not ready() and time.monotonic() < until:
        time.sleep(0.05)


def _answers(address: Address) -> bool:
    import httpx2

    with suppress(httpx2.HTTPError):
        return bool(httpx2.get(f"{address.url}/models", timeout=5).is_success)
    return False


def _program(name: str) -> str | None:
    """Return the path of a program, first of those that were installed beside this Python."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=str(beside)) or shutil.which(name)
