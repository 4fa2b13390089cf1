"""`potstill export` and `potstill serve`: llama.cpp's real server, asked by the real client."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.cli.servable import servable
from potstill.errors import PotstillError
from potstill.lineage import manifest
from potstill.lineage.keys import local_key
from potstill.models import serving
from potstill.models.serving import Address
from potstill.recipe import Recipe
from potstill.work.rundir import RunDir

RECIPE = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})


@pytest.fixture(scope="module")
def served(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run with a student and its GGUF file (do not write to it)."""
    root = tmp_path_factory.mktemp("served") / "run"
    with RunDir.open(root, RECIPE) as run:
        shutil.copytree(nano_llama, run.student)
        manifest.write(run)
    result = CliRunner().invoke(app, ["export", str(root), "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{root / 'student.gguf'} (0.")
    return root


@pytest.fixture
def own(served: Path, tmp_path: Path) -> Path:
    """Return a copy of that run that a test may change."""
    shutil.copytree(served, tmp_path / "own")
    return tmp_path / "own"


def failure(cli: CliRunner, *arguments: str) -> str:
    result = cli.invoke(app, [*arguments, "--quiet"])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_manifest_lists_the_exported_file(served: Path) -> None:
    assert manifest.verify(served) == []


def test_an_export_into_a_signed_run_is_countersigned(own: Path, cli: CliRunner) -> None:
    (own / "student.gguf").unlink()
    with RunDir.open(own, RECIPE) as run:
        manifest.write(run, signer=local_key())
    before = (own / "manifest.json").read_bytes()
    for _ in range(2):
        assert cli.invoke(app, ["export", str(own), "--quiet"]).exit_code == 0
    assert (own / "manifest.json").read_bytes() == before
    assert (own / "manifest.2.json.sig").is_file() and manifest.verify(own) == []
    public = str(local_key().path) + ".pub"
    assert cli.invoke(app, ["verify", str(own), "--key", public]).exit_code == 0


def test_a_file_that_a_signed_run_lists_is_exported_elsewhere_only(
    own: Path, cli: CliRunner
) -> None:
    (own / "manifest.json.sig").write_text("signed")
    before = (own / "student.gguf").stat().st_mtime_ns
    assert "write the file elsewhere with --out" in failure(cli, "export", str(own))
    assert (own / "student.gguf").stat().st_mtime_ns == before


@pytest.mark.parametrize("verb", ["export", "serve"])
def test_a_run_that_is_not_there_or_has_no_student_is_named(
    verb: str, cli: CliRunner, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    assert "is no run directory" in failure(cli, verb, str(tmp_path / "nowhere"))
    assert "has no finished student yet" in failure(cli, verb, str(make_run(evaluated=False)))


def test_other_kinds_and_places_are_refused(served: Path, cli: CliRunner, tmp_path: Path) -> None:
    assert "potstill writes f16 and q8_0" in failure(cli, "export", str(served), "--gguf", "q4_k")
    where = ("--out", str(tmp_path))
    assert "is a directory" in failure(cli, "export", str(served), *where)
    assert "potstill knows llama.cpp" in failure(cli, "serve", str(served), "--with", "ollama")


def test_check_asks_the_server_and_stops_it(served: Path, cli: CliRunner) -> None:
    result = cli.invoke(app, ["serve", str(served), "--port", "0", "--check", "--quiet"])
    assert result.exit_code == 0, result.output
    said = re.fullmatch(r"llama.cpp answered one question with (\d+) characters\n", result.stdout)
    assert said is not None and int(said[1]) > 0


def test_the_printed_snippet_works_and_ctrl_c_stops(served: Path) -> None:
    program = [sys.executable, "-c", "from potstill.cli import main; main()"]
    with subprocess.Popen(
        [*program, "serve", str(served), "--port", "0", "-q"],
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if line.startswith("print("):
                break
        assert lines[0].startswith("llama.cpp serves mine at http://127.0.0.1:")
        snippet = "".join(lines[1:])
        asked = subprocess.run(
            [sys.executable, "-c", snippet], capture_output=True, text=True, check=True
        )
        assert asked.stdout.strip()
        server.send_signal(signal.SIGINT)
        try:
            assert server.wait(timeout=20) == 0
        finally:
            server.kill()


def test_a_model_is_served_as_a_run_is(
    served: Path, nano_llama: Path, tmp_path: Path, cli: CliRunner
) -> None:
    """A directory, of which a GGUF file is made for the while; and a GGUF file itself."""
    shutil.copytree(nano_llama, tmp_path / "model")
    for target in (tmp_path / "model", served / "student.gguf"):
        result = cli.invoke(app, ["serve", str(target), "--port", "0", "--check", "--quiet"])
        assert result.exit_code == 0, result.output
        assert "llama.cpp answered one question with" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {p.name for p in (tmp_path / "model").iterdir()} == {
        p.name for p in nano_llama.iterdir()
    }


@pytest.mark.parametrize(
    ("target", "name", "called"),
    [
        ("run", None, "mine"),
        ("run", "other", "other"),
        ("run/student.gguf", None, "student"),
        ("run/student", None, "student"),
        ("run/student", "routing", "routing"),
    ],
)
def test_what_clients_call_a_model(
    served: Path, target: str, name: str | None, called: str
) -> None:
    assert servable(str(served.parent / target), name).name == called


@pytest.mark.parametrize("target", ["nothing", "{tmp}", "{tmp}/x.gguf", "some/hub-id"])
def test_what_is_neither_run_nor_model_is_named(
    target: str, cli: CliRunner, tmp_path: Path
) -> None:
    said = failure(cli, "serve", target.format(tmp=tmp_path), "--port", "0")
    assert "is no run directory (it has no recipe.yaml) and no model; give" in said


def test_other_servers_do_not_get_a_gguf_file(
    served: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "is_installed", lambda engine: engine == "vllm")
    gguf = str(served / "student.gguf")
    said = failure(cli, "serve", gguf, "--port", "0", "--with", "vllm")
    assert "is a GGUF file, which --with vllm does not serve here" in said
    # vLLM is there, but it is not the one that could.
    assert 'pip install "potstill[gguf]"' in failure(cli, "serve", gguf, "--port", "0")


def test_an_answer_that_shows_nothing_is_shown_as_such(
    served: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server answers is another program's; the stand-in answers white space."""
    for text, shown in (
        (" \n", r'2 characters (white space alone: " \n")'),
        ("", "0 characters (no text)"),
    ):
        monkeypatch.setattr(serving, "ask", lambda *_, text=text, **__: text)
        monkeypatch.setattr(serving, "llama_cpp", lambda *_: nullcontext())
        result = cli.invoke(app, ["serve", str(served), "--port", "0", "--check", "--quiet"])
        assert result.stdout == f"llama.cpp answered one question with {shown}\n"


def test_a_port_that_is_taken_is_named(served: Path, cli: CliRunner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = failure(cli, "serve", str(served), "--port", port, "--check")
    assert f"cannot listen on port {port} of 127.0.0.1" in said
    assert "--port" in said


def test_a_host_of_another_machine_is_refused(served: Path, cli: CliRunner) -> None:
    assert "192.0.2.1" in failure(cli, "serve", str(served), "--host", "192.0.2.1", "--check")
    said = failure(cli, "serve", str(served), "--host", "no.such.host.invalid", "--check")
    assert "is no address of this machine" in said


def test_a_damaged_gguf_file_is_named(own: Path, cli: CliRunner) -> None:
    (own / "student.gguf").write_bytes(b"GGUFxxxx")
    assert "write the file again" in failure(cli, "serve", str(own), "--port", "0", "--check")


def test_a_server_that_is_not_installed_is_named(
    served: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "is_installed", lambda engine: False)
    for engine, way in (
        ("llama.cpp", 'pip install "potstill[gguf]"'),
        ("transformers", 'pip install "transformers[serving]"'),
        ("vllm", "pip install vllm"),
    ):
        said = failure(cli, "serve", str(served), "--port", "0", "--with", engine)
        assert way in said
    assert "no server is installed" in failure(cli, "serve", str(served), "--port", "0")


def test_without_a_gguf_file_to_be_had_the_next_server_is_taken(
    own: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in notes how vLLM is started; nothing here can run vLLM itself."""
    (own / "student.gguf").unlink()
    (own / "student" / "config.json").write_text('{"auto_map": {}}')
    monkeypatch.setattr(serving, "is_installed", lambda engine: engine != "transformers")
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda file, arguments: started.append(arguments))
    result = cli.invoke(app, ["serve", str(own), "--port", "0"])
    assert result.exit_code == 0, result.output
    assert "serving with vllm" in result.stderr
    (arguments,) = started
    assert arguments[1:4] == ["serve", str(own / "student"), "--host"]
    assert arguments[-2:] == ["--served-model-name", "mine"]
    assert 'model="mine"' in result.stdout


def test_a_server_that_ends_at_once_is_named(served: Path) -> None:
    arguments = [sys.executable, "-c", "import sys; sys.exit(3)"]
    address = serving.free_address("127.0.0.1", 0)
    with (
        pytest.raises(PotstillError, match="ended with status 3 before it answered"),
        serving.program(arguments, address, 30),
    ):
        pass


def test_a_program_is_waited_for_and_stopped(tmp_path: Path) -> None:
    """Any program that answers will do: Python's own web server, with one file to give."""
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "models").write_text("{}")
    address = serving.free_address("127.0.0.1", 0)
    arguments = [sys.executable, "-m", "http.server", str(address.port), "--bind", "127.0.0.1"]
    with (
        serving.program([*arguments, "--directory", str(tmp_path)], address, 30),
        pytest.raises(PotstillError, match="did not answer as an OpenAI server"),
    ):
        serving.ask(address, "mine", "Hello", chat=True, max_tokens=4)
    assert serving.free_address("127.0.0.1", address.port) == address


def test_addresses() -> None:
    assert Address("127.0.0.1", 80).url == "http://127.0.0.1:80/v1"
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80/v1"
    assert Address("::1", 80).url == "http://[::1]:80/v1"
    local = [Address(host, 1).is_local for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8")]
    assert all(local)
    assert not any(Address(host, 1).is_local for host in ("0.0.0.0", "::", "10.0.0.1", "name"))
