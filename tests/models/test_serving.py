"""Where a server listens, and the command line that starts one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.models import serving
from potstill.models.serving import Address, Engine, command, free_address, require, served_name


@pytest.mark.parametrize(
    ("host", "url", "local"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/v1", True),
        ("localhost", "http://localhost:80/v1", True),
        ("::1", "http://[::1]:80/v1", True),
        # A client on this machine reaches what listens everywhere; so does everybody else.
        ("0.0.0.0", "http://127.0.0.1:80/v1", False),
        ("::", "http://[::1]:80/v1", False),
        ("10.1.2.3", "http://10.1.2.3:80/v1", False),
        ("host.example", "http://host.example:80/v1", False),
    ],
)
def test_an_address_has_a_url_and_may_be_this_machine_s_alone(
    host: str, url: str, local: bool
) -> None:
    assert Address(host, 80).url == url
    assert Address(host, 80).is_local is local


def test_port_0_is_any_free_port_and_a_taken_one_is_refused() -> None:
    found = free_address("127.0.0.1", 0)
    assert found.port > 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(PotstillError, match=f"cannot listen on port {taken} of 127.0.0.1"):
            free_address("127.0.0.1", taken)
    assert free_address("127.0.0.1", taken) == Address("127.0.0.1", taken)


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_program_s_command_line_says_what_is_served_where(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "is_installed", lambda _: True)
    monkeypatch.setattr(serving, "_program", lambda _: None)
    line = command(engine, Path("/models/mine"), "mine", Address("127.0.0.1", 81))
    assert line[:7] == [engine, "serve", "/models/mine", "--host", "127.0.0.1", "--port", "81"]
    name = served_name(engine, Path("/models/mine"), "mine")
    assert line[7:] == ([] if engine == "transformers" else ["--served-model-name", name])
    assert name == ("/models/mine" if engine == "transformers" else "mine")


@pytest.mark.parametrize("engine", serving.ENGINES)
def test_a_server_that_is_not_there_names_what_installs_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "is_installed", lambda _: False)
    with pytest.raises(PotstillError, match="run: pip install"):
        require(engine)
