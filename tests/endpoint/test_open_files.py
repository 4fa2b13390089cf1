"""A process that may open few files asks fewer at once, and keeps what it has paid for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fault_server import Behaviour, FaultServer
from potstill.endpoint.open_files import affordable, needed_files, open_files
from potstill.exchanges.store import ExchangeStore

pytest.importorskip("resource", reason="needs a limit of open files")

# A collecting process with ever other limits, in one go: what takes long is to start it.
_COLLECTING = """
import json, os, resource, sys
from pathlib import Path

from potstill.endpoint import open_files
from potstill.collect.served.answers import collect_from_endpoint
from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Prompt
from potstill.text.turns import prompt_id_of
from potstill.exchanges.store import ExchangeStore
from potstill.models.sampling import Sampling
from potstill.progress import Silent
from potstill.recipe import EndpointConfig
from potstill.terms import Evidence, Stated, decide

url, root = sys.argv[1], Path(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
prompts = []
for i in range(300):
    messages = ({"role": "user", "content": f"Question {i}"},)
    prompts.append(Prompt(prompt_id_of(messages), messages, "train", "test"))
config = EndpointConfig(url=url, provider="test", max_in_flight=256, tries=2)
decision = decide("nano", (Evidence("mit", "test", "mit"),), Stated())

def collecting(name, limit):
    said, error, figures = [], None, None
    class Notes(Silent):
        def note(self, text):
            said.append(text)
    store = ExchangeStore(root / name)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        figures = collect_from_endpoint(
            config, "nano", prompts, Sampling(max_tokens=16), store, decision, progress=Notes()
        )
    except PotstillError as caught:
        error = str(caught)
    store.close()
    return {"said": said, "error": error, "most": figures and figures.most_in_flight}

def none_left():
    store, held, errors = ExchangeStore(root / "fresh"), [], []
    (row,) = ExchangeStore(root / "few").read()[:1]
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for what in (lambda: store.append([row]), lambda: write_bytes(root / "a", b"a")):
        try:
            what()
        except PotstillError as caught:
            errors.append(str(caught))
    for number in held:
        os.close(number)
    return errors

found = {"none": collecting("none", 20), "few": collecting("few", 64)}
open_files.affordable = lambda wanted, most_open, are_open: wanted
found["blind"] = collecting("blind", 64)
found["full"] = none_left()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """What each process said, and where it stored."""
    root = tmp_path_factory.mktemp("files")
    with FaultServer(Behaviour(latency_s=0.02)) as server:
        arguments = [sys.executable, "-c", _COLLECTING, server.url, str(root)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        yield found | {"answers": sum(server.seen.values())}, root


def stored(root: Path) -> int:
    store = ExchangeStore(root)
    count = len(store.read())
    store.close()
    return count


Told = tuple[dict[str, Any], Path]


def test_few_open_files_mean_fewer_requests_in_flight(told: Told) -> None:
    found, root = told
    few = found["few"]
    assert few["error"] is None and stored(root / "few") == 300
    assert few["said"][0].endswith(
        " requests in flight in place of 256: this process may have 64 files open (ulimit -n)"
    )
    assert 1 <= few["most"] < 64


def test_no_room_for_a_request_is_refused_before_the_first(told: Told) -> None:
    found, root = told
    assert found["none"]["error"].startswith(
        "the limit of open files (20, ulimit -n) leaves no room for requests; raise it to "
    )
    assert stored(root / "none") == 0


def test_what_came_is_kept_where_files_run_out_in_the_middle(told: Told) -> None:
    found, root = told
    error = found["blind"]["error"] or "too many open files"
    assert "permission denied" not in error
    assert "open files" in error or "files are open" in error
    # What was in flight at that moment is waited for.
    assert stored(root / "blind") == found["answers"] - 300 > 0


def test_a_used_up_number_of_files_is_no_missing_permission(told: Told) -> None:
    assert len(told[0]["full"]) == 2
    for error in told[0]["full"]:
        assert "too many files are open; raise the limit of open files (ulimit -n)" in error
        assert "permission" not in error


@pytest.mark.parametrize(
    ("wanted", "most_open", "are_open", "allowed"),
    [
        (256, 64, 12, 28),
        (256, 1024, 12, 256),
        (16, 64, 12, 16),
        (256, None, 0, 256),
        (64, 36, 12, 0),
        (64, 20, 12, 0),
        (1, 37, 12, 1),
    ],
)
def test_requests_that_open_files_allow(
    wanted: int, most_open: int | None, are_open: int, allowed: int
) -> None:
    assert affordable(wanted, most_open, are_open) == allowed
    assert affordable(wanted, needed_files(wanted, are_open), are_open) == wanted


def test_open_files_are_counted() -> None:
    before = open_files()[1]
    with Path(__file__).open(), Path(__file__).open():
        assert open_files()[1] == before + 2
