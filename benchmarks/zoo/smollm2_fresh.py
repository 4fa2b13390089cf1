"""SmolLM2 reads text that it marked under fresh keys: what an innocent of one key comes to.

    python benchmarks/zoo/smollm2_fresh.py FOLDER [--keys N]

The zoo has one key, and its copies of SmolLM2 choose alike: what chance gives one of them it gives
all. Under other keys, each with answers marked anew, the teacher as it is shows whether that was
chance. Findings go to FOLDER/smollm2/fresh-N/found.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from blake3 import blake3
from plans import Sizes, in_choices
from smollm2 import ASKED_LONGEST, DIGEST, RANKED, SmolOwner, SmolWorld

from potstill.durable import write_bytes
from potstill.models.quiet import quiet_transformers
from potstill.watermark.keys import MasterKey, write_key

KEYS, SCHEME = 3, "gumbel"


@dataclass(frozen=True)
class FreshWorld(SmolWorld):
    """The world under another key, of a number."""

    number: int = 0

    def key(self) -> Path:
        """Return the file of the master key of this number."""
        path = self.folder / "owner.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_key(path, MasterKey(blake3(f"fresh {self.number}".encode()).digest(length=32)))
        return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keys", type=int, default=KEYS)
    given = parser.parse_args()
    sizes = Sizes(digest=DIGEST, longest=ASKED_LONGEST, ranked=RANKED)
    with quiet_transformers():
        for number in range(1, given.keys + 1):
            folder = given.folder / "smollm2" / f"fresh-{number}"
            if (folder / "found.json").exists():
                continue
            owner = SmolOwner(FreshWorld(folder, number=number), sizes)
            with torch.inference_mode(False):
                asked = in_choices(owner, owner.teacher, SCHEME)
            assert asked is not None
            found = asked.finding
            row = {
                "part": "smollm2-fresh",
                "key": number,
                "test": f"{found.test} {found.configuration}",
                "who": "teacher",
                "n": found.n,
                "effect": found.effect,
                "log10_p": found.log10_p,
            }
            write_bytes(folder / "found.json", json.dumps(row, indent=1).encode())
            print(row, flush=True)


if __name__ == "__main__":
    main()
