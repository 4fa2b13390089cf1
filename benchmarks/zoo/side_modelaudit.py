"""knowlyr-modelaudit on models of the zoo, in an environment that `peers.py` makes.

It asks chat servers and knows no other way to get text, so one is run here that gives the answers
which the models gave to its probes beforehand. Nothing of the package is replaced; where the job
has `probes`, they stand in for its own list.

Reads a job (JSON) from the file named, prints one line of JSON for each suspect.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import modelaudit.probes.prompts as probes
from modelaudit.engine import AuditEngine

TEACHER = "teacher"


class _Answers(BaseHTTPRequestHandler):
    """A chat server that looks each answer up by model and prompt."""

    known: dict[str, dict[str, str]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = self.known[asked["model"]][asked["messages"][-1]["content"]]
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


def _figures(compared: Any) -> dict[str, Any]:
    return {
        "similarity": compared.similarity,
        "threshold": compared.threshold,
        "derived": bool(compared.is_derived),
    }


def main() -> None:
    if sys.argv[1] == "probes":
        print(json.dumps([probe.prompt for probe in probes.DEFAULT_PROBES]))
        return
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if job["probes"]:
        kinds = enumerate(job["probes"])
        probes.DEFAULT_PROBES[:] = [
            probes.Probe(str(i), "zoo", prompt, "of the zoo") for i, prompt in kinds
        ]
    _Answers.known = job["answers"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    engine = AuditEngine(use_cache=False)
    at = {"provider": "custom", "api_base": f"http://127.0.0.1:{server.server_port}"}
    teacher = engine.fingerprint(job["teacher"], method="reef") if job["reef"] else None
    for name, path in job["suspects"].items():
        result = engine.audit(TEACHER, name, num_probes=len(probes.DEFAULT_PROBES), **at)
        methods = {one.method: _figures(one) for one in result.comparisons}
        if teacher is not None:
            from modelaudit.registry import get_fingerprinter

            other = engine.fingerprint(path, method="reef")
            methods["reef"] = _figures(get_fingerprinter("reef").compare(teacher, other))
        row = {"name": name, "verdict": result.verdict, "methods": methods}
        print(json.dumps(row | {"derived": result.verdict == "likely_derived"}), flush=True)


if __name__ == "__main__":
    main()
