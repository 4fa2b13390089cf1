"""Write results into the README and the methods' pages from the committed result files alone.

python benchmarks/readme_results.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import scale_pages
import speed_pages
import trace_pages
import watch_pages
import zoo_pages

ROOT = Path(__file__).parent.parent
START, END = "<!-- results -->", "<!-- /results -->"


# Rows of the table of speeds: title, scheme, kind of text.
MARK_TEXTS = (
    ("green list, tokens by Zipf's law", "green", "zipf"),
    ("green list, tokens drawn evenly", "green", "even"),
    ("Gumbel, by Zipf's law", "gumbel", "zipf"),
    ("Gumbel, evenly", "gumbel", "even"),
)
PRECISIONS = ("fp32", "bf16")
# Tasks that students are compared on, by recipe.
TASKS = {
    "task-labels": "which queue a customer's message belongs to",
    "task-json": "what is ordered, as JSON",
}


def block(results: Path) -> str:
    """Return the results as Markdown, from the files in benchmarks/results."""
    parts = (
        demo(results),
        tasks(results),
        marks(results),
        zoo_pages.readme_block(results),
        watch_pages.readme_block(results),
    )
    return "\n\n".join(part for part in parts if part)


def marks(results: Path) -> str:
    """Return what marks are worth and what they take, from calibration.json and detect.json."""
    tried = _read(results, "calibration")
    nulls = _claims(tried)
    trials = sum(row["trials"] for row in tried["rows"] if "levels" in row)
    sources = [
        f"null trials by `make calibrate` on {tried['date'][:10]} (commit {tried['commit']})"
    ]
    rows = [
        (f"Unmarked text, p <= 0.01 in {trials:,} trials", f"{nulls['fpr_at_0.01']:.2%}"),
        (
            "Unmarked documents that share boilerplate, p <= 0.001",
            f"{nulls['fpr_boilerplate_at_1e-3']:.2%}",
        ),
        (
            "the same, where repeats are dropped in each document alone",
            f"{nulls['fpr_boilerplate_per_document_at_1e-3']:.1%}",
        ),
    ]
    if (results / "detect.json").exists():
        found = _read(results, "detect")
        speed = _claims(found)
        sources.append(
            f"speed of a green list by `make bench-detect`, {found['date'][:10]}, "
            f"{found['machine']['cores']} cores, commit {found['commit']}"
        )
        rows += [
            ("Token ids searched a second, slowest of windows 1 to 4", _millions(speed)),
            ("that speed, of textseal's on the same ids", f"{speed['vs_textseal']:,.0f} times"),
            ("Time added to decoding, 8 streams", f"{speed['decode_cost_8_streams']:.1%}"),
        ]
    lines = [
        f"Watermarks: {'; '.join(sources)}:",
        "",
        "| Watermark | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines)


def mark_costs(results: Path) -> str:
    """Return the tables of docs/methods/watermark.md, from detect.json."""
    if not (results / "detect.json").exists():
        return "Not measured yet."
    found = _read(results, "detect")
    decoding = [row for row in found["rows"] if row["part"] == "decoding"]
    lines = [
        f"One run on {found['date'][:10]}, {found['machine']['cores']} cores, commit "
        f"{found['commit']}. Million token ids a second, {_tokens(found)} million ids in memory:",
        "",
        "| | " + " | ".join(f"window {window}" for window in (1, 2, 3, 4)) + " |",
        "| --- |" + " --- |" * 4,
        *(_speeds(found, *kind) for kind in MARK_TEXTS),
        "",
        *_peer_lines(found),
        "",
        "Time that marking adds to decoding SmolLM2 at T 1; beside it what unmarked text shows "
        "against itself, which says how far to trust these figures:",
        "",
        "| | streams | surviving tokens | fp32 | bf16 |",
        "| --- | --- | --- | --- | --- |",
        *_cost_lines(decoding),
    ]
    return "\n".join(lines)


def _speeds(found: dict[str, Any], title: str, scheme: str, text: str) -> str:
    rate = {
        row["parameters"]["window"]: f"{row['tokens_per_s'] / 1e6:.1f}"
        for row in found["rows"]
        if row["part"] == "detection" and (row["scheme"], row["text"]) == (scheme, text)
    }
    return f"| {title} | {' | '.join(rate[window] for window in sorted(rate))} |"


def _peer_lines(found: dict[str, Any]) -> list[str]:
    """Return a table of who scores how fast, on texts that all of them are given."""
    rows = [row for row in found["rows"] if row["part"] == "peer"]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    windows = sorted({row["parameters"]["window"] for row in rows})
    rate = {(row["contender"], row["parameters"]["window"]): row["tokens_per_s"] for row in rows}
    return [
        f"Token ids a second on {max(row['tokens'] for row in rows):,} of them, green list "
        f"(textseal {found['machine']['peers']['textseal']}):",
        "",
        "| | " + " | ".join(f"window {window}" for window in windows) + " |",
        "| --- |" + " --- |" * len(windows),
        *(
            f"| {name} | " + " | ".join(f"{rate[name, window]:,.0f}" for window in windows) + " |"
            for name in names
        ),
    ]


def _cost_lines(decoding: list[dict[str, Any]]) -> list[str]:
    def key(row: dict[str, Any]) -> tuple[str, int, Any]:
        return row["scheme"], row["streams"], row.get("surviving", "all")

    cost = {(key(row), row["precision"]): row["cost"] for row in decoding}
    shown = (f"{scheme} | {streams} | {left}" for scheme, streams, left in map(key, decoding))
    cells = {
        text: " | ".join(f"{100 * cost[key(row), precision]:+.1f}%" for precision in PRECISIONS)
        for text, row in zip(shown, decoding, strict=True)
    }
    return [f"| {text} | {values} |" for text, values in cells.items()]


def _tokens(found: dict[str, Any]) -> str:
    return f"{max(r['tokens'] for r in found['rows'] if r['part'] == 'detection') / 1e6:g}"


def _millions(claims: dict[str, float]) -> str:
    return f"{claims['tokens_per_s'] / 1e6:.1f} million"


def _read(results: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _claims(found: dict[str, Any]) -> dict[str, float]:
    return {name: claim["value"] for name, claim in found["claims"].items()}


def tasks(results: Path) -> str:
    """Return how the tasks' students do beside their teachers, from recipes.json."""
    found = json.loads((results / "recipes.json").read_text(encoding="utf-8"))
    machine = found["machine"]
    rows = {row["recipe"]: row for row in found["rows"]}
    lines = [
        f"Students for one job, on held-out rows, 95% intervals over rows, one run of "
        f"`make bench-recipes` on {found['date'][:10]} ({machine['cores']} cores, "
        f"{machine['compute_dtype']}, commit {found['commit']}):",
        "",
        "| Task | Parameters, of the teacher's | Teacher right | Student right | Difference | |",
        "|---|---|---|---|---|---|",
        *(line for name, title in TASKS.items() for line in _task(title, rows[name])),
        "",
        _drawn_again(results),
        "",
        *_sizes(results),
    ]
    return "\n".join(lines)


def _drawn_again(results: Path) -> str:
    """Return how the first of these students does on rows drawn after all was settled."""
    found = json.loads((results / "task_draw.json").read_text(encoding="utf-8"))["rows"][0]
    compared = found["comparison"]
    low, high = (f"{100 * end:+.1f}" for end in compared["interval"])
    return (
        "The recipe was settled with these rows in view. On others, drawn afterwards "
        f"(`make bench-task-draw`, n {compared['n']:,}), the first difference is "
        f"{100 * compared['difference']:+.1f} points ({low} to {high}): {compared['sentence']}."
    )


def _sizes(results: Path) -> list[str]:
    """Return the same task's students by size, from task_sizes.json."""
    found = json.loads((results / "task_sizes.json").read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if "comparison" in row]
    lines = [
        f"The same task by size (`make bench-task-sizes`, {found['date'][:10]}, commit "
        f"{found['commit']}): blocks and channels as one search found them, other rows again:",
        "",
        "| Parameters, of the teacher's | Teacher right | Student right | Difference | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        scores = [row[model][row["score"]] for model in ("teacher", "student")]
        share = f"{row['parameters_vs_teacher']:.1%}"
        lines.append(_line((share,), scores, row["comparison"]))
    return lines


def _task(title: str, row: dict[str, Any]) -> list[str]:
    """Return the task's line, and one for each slice that is scored apart."""
    models, task = row["models"], row["task"]
    share = f"{models['student']['params'] / models['teacher']['params']:.1%}"
    scores = [task[model][task["score"]] for model in ("teacher", "student")]
    lines = [_line((title, share), scores, task["comparison"])]
    for one in task["slices"]:
        if one["comparison"]:
            scores = [one["teacher"], one["student"]]
            title = "the same, in wording of no row it learnt from"
            lines.append(_line((title, share), scores, one["comparison"]))
    return lines


def _line(heads: tuple[str, ...], scores: list[dict[str, Any]], compared: dict[str, Any]) -> str:
    right = [f"{score['value']:.1%}" for score in scores]
    low, high = (f"{100 * end:+.1f}" for end in compared["interval"])
    difference = f"{100 * compared['difference']:+.1f} ({low} to {high}) points"
    word = f"{compared['sentence']}, n {compared['n']:,}"
    return f"| {' | '.join((*heads, *right, difference, word))} |"


def demo(results: Path) -> str:
    """Return what `make demo` makes, from demo.json."""
    found = json.loads((results / "demo.json").read_text(encoding="utf-8"))
    claims = {name: claim["value"] for name, claim in found["claims"].items()}
    models = found["rows"][0]["models"]
    machine = found["machine"]
    kl, agreement = models["student"]["kl_per_token"], models["student"]["top1_agreement"]
    rows = [
        ("Parameters, of the teacher's", f"{claims['parameters_vs_teacher']:.1%}"),
        ("Same likeliest next token as the teacher", _interval(agreement, percent=True)),
        ("KL to the teacher, nats a token", _interval(kl)),
        ("that KL, of plain cutting's", f"{claims['kl_student_vs_pruned']:.2f}"),
        ("that KL, of the healed student's before training", _share(claims)),
        ("Time, whole command", f"{claims['seconds'] / 60:.1f} min"),
        ("Peak memory", f"{claims['peak_memory_gb']:.1f} GB"),
        ("Arithmetic, of training such a model from scratch (estimated)", _one_in(claims)),
    ]
    lines = [
        f"Measured on {kl['n']} held-out prompts, 95% intervals over prompts, one run of "
        f"`make bench-demo` on {found['date'][:10]} ({machine['cores']} cores, "
        f"{machine['compute_dtype']}, commit {found['commit']}):",
        "",
        "| `make demo` | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines)


def _interval(estimate: dict[str, Any], *, percent: bool = False) -> str:
    spell = "{:.1%}" if percent else "{:.3f}"
    text = spell.format(estimate["value"])
    if estimate["ci95"] is None:
        return f"{text} (no interval)"
    low, high = map(spell.format, estimate["ci95"])
    return f"{text} ({low} to {high})"


def _share(claims: dict[str, float]) -> str:
    return f"{claims['kl_student_vs_untrained']:.2f}"


def _one_in(claims: dict[str, float]) -> str:
    return f"1/{round(1 / claims['flops_vs_from_scratch'], -2):,.0f}"


def with_results(readme: str, results: Path) -> str:
    """Return the README with its results block written anew."""
    return _with(readme, block(results))


def with_mark_costs(page: str, results: Path) -> str:
    """Return docs/methods/watermark.md with its results block written anew."""
    return _with(page, mark_costs(results))


def with_zoo(page: str, results: Path) -> str:
    """Return docs/methods/trace-zoo.md with its results block written anew."""
    return _with(page, zoo_pages.page_block(results))


def with_nulls(page: str, results: Path) -> str:
    """Return docs/methods/trace.md with its results block written anew."""
    return _with(page, trace_pages.null_block(results))


def with_ancestry(page: str, results: Path) -> str:
    """Return docs/methods/trace-ancestry.md with its results block written anew."""
    return _with(page, trace_pages.ancestry_block(results))


def with_watch(page: str, results: Path) -> str:
    """Return docs/methods/watch-measured.md with its results block written anew."""
    return _with(page, watch_pages.page_block(results))


def with_scale(page: str, results: Path) -> str:
    """Return docs/scale-traffic.md with its results block written anew."""
    return _with(page, scale_pages.page_block(results))


def with_minutes(page: str, results: Path) -> str:
    """Return docs/how-to/minutes.md with its results block written anew."""
    return _with(page, speed_pages.minutes_block(results))


def with_speed(page: str, results: Path) -> str:
    """Return docs/speed.md with its results block written anew."""
    return _with(page, speed_pages.speed_block(results))


def _with(page: str, text: str) -> str:
    head, _, rest = page.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{text}\n{END}{tail}"


if __name__ == "__main__":
    for name, written in (
        ("README.md", with_results),
        ("docs/methods/watermark.md", with_mark_costs),
        ("docs/methods/trace-zoo.md", with_zoo),
        ("docs/methods/trace.md", with_nulls),
        ("docs/methods/trace-ancestry.md", with_ancestry),
        ("docs/methods/watch-measured.md", with_watch),
        ("docs/scale-traffic.md", with_scale),
        ("docs/how-to/minutes.md", with_minutes),
        ("docs/speed.md", with_speed),
    ):
        path = ROOT / name
        page = written(path.read_text(encoding="utf-8"), ROOT / "benchmarks/results")
        path.write_text(page, encoding="utf-8")
