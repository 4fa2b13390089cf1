"""modelDNA on models of the zoo, in an environment that `peers.py` makes.

It takes two model directories and gives the probability that one descends from the other.

Reads a job (JSON) from the file named, prints one line of JSON for each suspect.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from modeldna.scan import compare_pair
from modeldna.verdict import Thresholds


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    threshold = Thresholds().positive
    for name, path in job["suspects"].items():
        _, _, evidence, verdict = compare_pair(path, job["teacher"], mode="full")
        probability = verdict.probability
        row = {
            "name": name,
            "verdict": verdict.verdict.value,
            "derived": probability is not None and probability >= threshold,
            "methods": {
                "logistic": {
                    "similarity": probability,
                    "threshold": threshold,
                    "derived": probability is not None and probability >= threshold,
                }
            },
            "features": evidence.features(),
            "notes": [*evidence.notes, *verdict.notes],
        }
        print(json.dumps(row).replace(job["teacher"], "teacher").replace(path, name), flush=True)


if __name__ == "__main__":
    main()
