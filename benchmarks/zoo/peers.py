"""Other packages that say whether a model derives from another, on the zoo's models.

knowlyr-modelaudit compares answers to 20 probes of its own ("derived": similarity of 0.85), and
hidden states of two model directories. modelDNA compares weights ("derived": probability of 0.9).
Each runs unchanged in an environment of its own, with the packages that this one has already.

    python benchmarks/zoo/peers.py FOLDER OUT [--only NAME...]

FOLDER has the zoo's models, of which none is made here. OUT gets one file a peer and suspect;
those that are there are not asked again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from files import file_of
from nano_teachers import MAX_TOKENS, Made
from suspects import Suspect, everybody, innocents, quick, relatives
from world import Said, World

from potstill.durable import write_bytes
from potstill.exchanges.exchange import Exchange
from potstill.models.chat import prompt_ids
from potstill.models.greedy import greedy_texts
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.quiet import quiet_transformers

HERE = Path(__file__).parent
PINS = {
    "knowlyr-modelaudit": ("knowlyr-modelaudit==0.4.1", "click==8.5.1", "httpx==0.28.1"),
    "modelDNA": ("modeldna==0.1.0",),
}
SIDES = {"knowlyr-modelaudit": "side_modelaudit.py", "modelDNA": "side_modeldna.py"}
# Prompts of the zoo's language that stand in for modelaudit's own probes in its second run.
PROBES = 20


class NotMadeError(Exception):
    """A model of the zoo is not there yet."""


class StandingWorld(World):
    """A zoo in which nothing is made: it finds the models that are there, and writes nothing."""

    def base(self, seed: int, language: int | None = None) -> Made:
        number = self.language if language is None else language
        name = f"nats-{self.nats:g}-seed-{seed}-language-{number}"
        if not (self.folder / "bases" / name / "nano.json").is_file():
            raise NotMadeError(name)
        return super().base(seed, language)

    def corpus(self, seed: int, count: int | None = None) -> list[Said]:
        return []

    def answers(self, who: str, model: Path, scheme: str | None = None) -> list[Exchange]:
        return []

    def trained(
        self, name: str, base: Path, texts: Sequence[Said], *, epochs: int = 1, rate: float = 0.0
    ) -> list[Path]:
        found = [self.folder / "models" / name / f"epoch-{n}" for n in range(1, epochs + 1)]
        if not all((path / "config.json").is_file() for path in found):
            raise NotMadeError(name)
        return found

    def of(self, suspect: Suspect) -> Path | None:
        """Return where a suspect lies; None where it is not made yet."""
        if suspect.name == "pruned" and not (self.folder / "models" / "pruned").is_dir():
            return None
        try:
            return suspect.make(self)
        except NotMadeError:
            return None


@dataclass(frozen=True)
class Peer:
    """A peer as it is run: under which name, by which package, with which probes."""

    name: str
    package: str
    probes: bool = False


PEERS = (
    Peer("modelDNA", "modelDNA"),
    Peer("knowlyr-modelaudit", "knowlyr-modelaudit"),
    Peer("knowlyr-modelaudit, prompts of the zoo", "knowlyr-modelaudit", probes=True),
)


def environment(folder: Path, package: str) -> Path:
    """Return the python of a peer's environment, made where it is new.

    Its packages are the peer's pinned ones; all else is found among those that run this.
    """
    home = folder / "environments" / package
    python = home / "bin" / "python"
    if (home / "ready").is_file():
        return python
    venv.create(home, with_pip=True, clear=True)
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    (own / "zoo_shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *PINS[package]]
    subprocess.run(install, check=True)
    (home / "ready").touch()
    return python


def said_to(model: LoadedModel, prompts: Sequence[str]) -> dict[str, str]:
    """Return a model's greedy answer to each prompt, as a server of it would give."""
    asked = [prompt_ids(model, ({"role": "user", "content": prompt},)) for prompt in prompts]
    return dict(zip(prompts, greedy_texts(model, asked, max_tokens=MAX_TOKENS), strict=True))


def tried(
    peer: Peer, python: Path, world: StandingWorld, paths: Mapping[str, Path]
) -> Iterator[dict[str, Any]]:
    """Yield what a peer says of each suspect, as its side prints it."""
    side = str(HERE / SIDES[peer.package])
    models = {
        name: load(str(path), device="cpu", precision="fp32")
        for name, path in {"teacher": world.teacher, **paths}.items()
    }
    job: dict[str, Any] = {
        "teacher": str(world.teacher),
        "suspects": {name: str(path) for name, path in paths.items()},
    }
    if peer.package == "knowlyr-modelaudit":
        if peer.probes:
            prompts = list(dict.fromkeys(p for p, _ in world.speech.exchanges(2 * PROBES, 998)))[
                :PROBES
            ]
        else:
            prompts = json.loads(_run([str(python), "-P", side, "probes"]))
        answers = {name: said_to(model, prompts) for name, model in models.items()}
        own = prompts if peer.probes else []
        job |= {"answers": answers, "probes": own, "reef": not peer.probes}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        for line in _run([str(python), "-P", side, str(file)]).splitlines():
            row = json.loads(line)
            yield row | {"weights": models[row["name"]].identity}


def _run(command: Sequence[str]) -> str:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--kin", action="store_true", help="Innocents and relatives alone.")
    parser.add_argument("--quick", action="store_true", help="One of each of the main kinds.")
    parser.add_argument("--at-once", type=int, default=8, help="Suspects a process is given.")
    given = parser.parse_args()
    world = StandingWorld(given.folder)
    everyone = quick() if given.quick else everybody()
    everyone = [*innocents(), *relatives()] if given.kin else everyone
    suspects = [s for s in everyone if not given.only or s.name in given.only]
    there = {s.name: path for s in suspects if (path := world.of(s)) is not None}
    print(f"{len(there)} of {len(suspects)} suspects are made", flush=True)
    for peer in PEERS:
        python = environment(given.out, peer.package)
        folder = given.out / "found" / file_of(peer.name)
        left = [name for name in there if not (folder / f"{file_of(name)}.json").exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for begin in range(0, len(left), given.at_once):
            paths = {name: there[name] for name in left[begin : begin + given.at_once]}
            with quiet_transformers():
                for row in tried(peer, python, world, paths):
                    file = folder / f"{file_of(row['name'])}.json"
                    facts = {"peer": peer.name, "package": PINS[peer.package][0], **row}
                    write_bytes(file, json.dumps(facts, indent=1).encode())
                    print(peer.name, row["name"], row["verdict"], flush=True)


if __name__ == "__main__":
    main()
