"""Who a served model is, as its user states it."""

from __future__ import annotations


def endpoint_identity(provider: str, model: str, revision: str | None = None) -> str:
    """Return `provider/model@revision`, or `provider/model` where no revision is stated.

    Neither the address nor what the server says of itself is part of it: the same model behind
    another port is the same teacher.
    """
    return f"{provider}/{model}" + (f"@{revision}" if revision else "")


class Served:
    """What a server says of itself while it answers: model names and system fingerprints.

    `models` and `fingerprints` count them, the first one first.
    """

    def __init__(self) -> None:
        self.models: dict[str, int] = {}
        self.fingerprints: dict[str, int] = {}

    def observe(self, model: str | None, fingerprint: str | None) -> str | None:
        """Count one answer; return a sentence where it is the first to tell of a change."""
        changed = []
        for what, value, seen in (
            ("model name", model, self.models),
            ("system fingerprint", fingerprint, self.fingerprints),
        ):
            if value is None:
                continue
            if seen and value not in seen:
                changed.append(f"its {what} from {next(iter(seen))} to {value}")
            seen[value] = seen.get(value, 0) + 1
        if not changed:
            return None
        return f"the server changed {' and '.join(changed)} in mid-run; both are stored"
