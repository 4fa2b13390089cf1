"""Derive the statistics of benign clients from ServeGen's published traces.

    git clone https://github.com/alibaba/ServeGen
    python benchmarks/traffic/fit_servegen.py ServeGen > src/potstill/simulator/servegen_fit.json

ServeGen (Xiang et al. 2025, arXiv 2505.09999; Apache-2.0) publishes rate, burstiness and lengths of
the clients of twelve models, 600 seconds a window. Here every client comes to six numbers; only
their quantiles over clients, the correlation of their normal scores and the profile of a day are
kept. Files that a clone lacks are counted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

POOLS = {
    "language": ("language/m-small", "language/m-mid", "language/m-large"),
    "reason": ("reason/deepseek-r1",),
}
FIELDS = ("log_rate", "log_cv", "input_mu", "input_sigma", "output_mu", "output_sigma")
PROBABILITIES = [round(0.05 * step, 2) for step in range(21)]
WINDOW_S, DAY_S = 600, 86_400
_BIN = re.compile(r"(\d+): ([0-9.e+-]+)")


def files(repository: Path, folder: str) -> Iterator[tuple[str, str | None]]:
    """Yield the name and the text of every file of a folder at HEAD; None where it is absent."""
    git = ["git", "-C", str(repository)]
    # A clone may lack large files; asking for them would go to the network.
    here = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}
    listed = subprocess.run(
        [*git, "ls-tree", "--name-only", "HEAD", f"{folder}/"],
        capture_output=True, text=True, check=True, env=here,
    ).stdout.split()  # fmt: skip
    for name in listed:
        shown = subprocess.run(
            [*git, "show", f"HEAD:{name}"], capture_output=True, text=True, check=False, env=here
        )
        yield name, shown.stdout if shown.returncode == 0 else None


def length_moments(texts: list[str]) -> tuple[float, float]:
    """Return mean and standard deviation of the log of a length, over a client's histograms."""
    weights, logs = [], []
    for text in texts:
        for length, weight in _BIN.findall(text):
            if int(length) > 0:
                logs.append(np.log(int(length)))
                weights.append(float(weight))
    mean = float(np.average(logs, weights=weights))
    return mean, float(np.sqrt(np.average((np.array(logs) - mean) ** 2, weights=weights)))


def client_of(trace: str, dataset: str) -> tuple[list[float], Array] | None:
    """Return a client's six numbers and its mean rate in each hour of a day; None if it is idle."""
    rows = [line.split(",") for line in trace.split()]
    seconds = np.array([int(row[0]) for row in rows])
    rate = np.array([float(row[1]) for row in rows])
    cv = np.array([float(row[2]) for row in rows])
    bursty = (rate > 0) & (cv > 0)
    windows = [
        fields for fields in json.loads(dataset).values() if len(fields["input_tokens"]) > 2
        and len(fields["output_tokens"]) > 2
    ]  # fmt: skip
    if bursty.sum() < 3 or not windows:
        return None
    lengths = [
        *length_moments([w["input_tokens"] for w in windows]),
        *length_moments([w["output_tokens"] for w in windows]),
    ]
    hour = seconds % DAY_S // 3600
    profile = np.array([rate[hour == h].mean() for h in range(24)])
    log_cv = float(np.average(np.log(cv[bursty]), weights=rate[bursty]))
    return [float(np.log(rate.mean())), log_cv, *lengths], profile / profile.mean()


def pool_statistics(repository: Path, folders: tuple[str, ...]) -> tuple[dict[str, object], Array]:
    """Return what is kept of a pool of clients, and the sum of their profiles of a day."""
    clients, profiles, idle, absent = [], [], 0, 0
    for folder in folders:
        content = dict(files(repository, f"data/{folder}"))
        for name, trace in content.items():
            if not name.endswith("-trace.csv"):
                continue
            dataset = content.get(name.replace("-trace.csv", "-dataset.json"))
            if trace is None or dataset is None:
                absent += 1
                continue
            client = client_of(trace, dataset)
            if client is None:
                idle += 1
                continue
            clients.append(client[0])
            profiles.append(client[1])
    values_CF = np.array(clients)
    ranks_CF = values_CF.argsort(axis=0).argsort(axis=0)
    scores_CF = ndtri((ranks_CF + 0.5) / len(clients))
    kept = {
        "clients": len(clients),
        "idle": idle,
        "absent": absent,
        "quantiles": {
            field: np.quantile(values_CF[:, f], PROBABILITIES).round(4).tolist()
            for f, field in enumerate(FIELDS)
        },
        "correlation": np.corrcoef(scores_CF.T).round(3).tolist(),
    }
    return kept, np.array(profiles).sum(axis=0)


def main() -> None:
    repository = Path(sys.argv[1])
    head = ["git", "-C", str(repository), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    pools, hours_H = {}, np.zeros(24)
    for name, folders in POOLS.items():
        pools[name], profile_H = pool_statistics(repository, folders)
        hours_H += profile_H
    # The traces do not say which clock they run on: the quietest hour becomes four in the morning.
    hours_H = np.roll(hours_H, 4 - int(hours_H.argmin()))
    fit = {
        "source": "https://github.com/alibaba/ServeGen",
        "licence": "Apache-2.0",
        "commit": commit,
        "probabilities": PROBABILITIES,
        "fields": FIELDS,
        "pools": pools,
        "hours": (hours_H / hours_H.sum()).round(5).tolist(),
    }
    # A list of numbers on one line.
    print(re.sub(r"\[[^\[\]]+\]", lambda m: " ".join(m[0].split()), json.dumps(fit, indent=1)))


if __name__ == "__main__":
    main()
