"""`recipes compare`: runs side by side, and whether one is better than another on the same problems."""

import json
from pathlib import Path
from typing import Any

from common.commands.compare_page import check_file, write_page
from common.commands.compared import Run, paired, read_run, unlike
from common.errors import fail
from common.report.numbers import format_gain, format_metric
from common.report.table import Table

WIDTH = 40  # letters of a setting in the table


def _settings(run: Run) -> dict[str, Any]:
    """Returns all that determines a run: how it was launched, its settings, and what its files held."""
    launch = {name: run.record.get(name) for name in ("recipe", "script", "world_size", "sharding")}
    return launch | run.record["settings"] | run.record.get("inputs", {})


def _differing(runs: list[Run]) -> dict[str, list[Any]]:
    """Returns the settings in which runs differ, each with its value in every run; None where a run does not have it."""
    found = [_settings(run) for run in runs]
    names = dict.fromkeys(name for settings in found for name in settings)
    values = {name: [settings.get(name) for settings in found] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _settings_table(runs: list[Run], differing: dict[str, list[Any]]) -> Table:
    """Returns the settings that differ; those that not all runs have (another recipe's) are counted in its note."""
    found = [_settings(run) for run in runs]
    lines = [
        [name, *(_short(value, WIDTH) for value in values)]
        for name, values in differing.items()
        if all(name in settings for settings in found)
    ]
    others = len(differing) - len(lines)
    more = f"{others} more that not all of them have (--json lists them)" if others else ""
    note = more or ("" if lines else "No setting differs.")
    return Table("Settings", ["setting that differs", *(run.name for run in runs)], lines, note)


def _short(value: Any, width: int) -> str:
    """Returns a value or a text on one line that a terminal can show."""
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value)
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return words if len(words) <= width else f"{words[: width - 4]} ..."


def _metrics_table(runs: list[Run]) -> Table:
    lines = []
    for split in dict.fromkeys(split for run in runs for split in run.evaluations):
        rows = [run.evaluations.get(split) for run in runs]
        lines.append([f"{split}, step", *(str(row["step"]) if row else "-" for row in rows)])
        lines.append([f"{split}, problems", *(str(row["count"]) if row else "-" for row in rows)])
        for name in dict.fromkeys(name for row in rows if row for name in row["metrics"]):
            found = [row if row and name in row["metrics"] else None for row in rows]
            cells = [format_metric(row["metrics"][name], row["count"]) if row else "-" for row in found]
            lines.append([f"{split}, {name}", *cells])
    notes = [
        f"{other.name} against {runs[0].name}, {split}: {sentence}"
        for other in runs[1:]
        for split in runs[0].evaluations
        if split in other.evaluations
        for sentence in unlike(runs[0], other, split)
    ]
    return Table("Metrics", ["metric, with its 95 % interval", *(run.name for run in runs)], lines, "\n".join(notes))


def _print_pair(first: Run, other: Run, split: str, pair: dict[str, Any] | None) -> None:
    print(f"\n{other.name} against {first.name}, {split}: ", end="")
    if pair is None:
        print("no problem in common that both measure alike")
        return
    which = f"the same {pair['problems']} problems" if pair["all"] else f"the {pair['problems']} problems that both kept"
    alone = f"{pair['only_other_right']} that it alone gets right, {pair['only_first_right']} that it alone gets wrong"
    print(f"{format_gain(pair['difference'])} on {which} ({alone})")
    for example in pair["examples"]:
        print(f"  {_short(example['question'], 200)}  ({_short(example['answer'], 60)})")
        for name, completion in example["completions"].items():
            print(f"    {'right' if name == example['right'] else 'wrong'}  {name}: {_short(completion, 200)}")


def _as_json(runs: list[Run], settings: dict[str, list[Any]], pairs: list[tuple[Run, dict[str, Any]]]) -> str:
    kept = ("step", "count", "metrics")
    metrics = [{split: {key: row[key] for key in kept} for split, row in run.evaluations.items()} for run in runs]
    found = {
        "runs": [{"folder": run.name, "metrics": measured} for run, measured in zip(runs, metrics, strict=True)],
        "settings": settings,
        "against_first": [{"folder": other.name, "pairs": pair} for other, pair in pairs],
    }
    return json.dumps(found)


def compare_runs(folders: list[Path], as_json: bool, html: Path | None = None) -> None:
    """Prints runs side by side: settings that differ, last metrics, and each against the first on the same problems.

    Args:
        folders: The folders of the runs, two or more; a checkpoint stands for its run.
        as_json: Print an object and nothing else: `runs` (`folder`, and by held-out set `metrics`: `step`, `count`, `metrics`),
            `settings` (each that differs, with its values in the runs' order) and `against_first` (`folder`, and by held-out
            set `pairs`: null, or `problems`, whether these are `all` of the set or those that both kept, `difference`,
            `only_first_right`, `only_other_right` and `examples`).
        html: Write a page there, with curves and all kept answers.

    Raises:
        SystemExit: With code 2 and one line if a folder is no run, or has not been measured, or the page is there already.
    """
    if html:
        check_file(html)
    if len(folders) < 2:
        fail("pass two runs or more: `recipes compare RUN RUN`; `recipes runs` lists them")
    runs = [read_run(folder) for folder in folders]
    if len({run.name for run in runs}) < len(runs):
        fail("a run stands there twice; pass runs that differ (`recipes runs` lists them)")
    first, settings = runs[0], _differing(runs)
    pairs = [
        (other, {split: paired(first, other, split) for split in first.evaluations if split in other.evaluations})
        for other in runs[1:]
    ]
    table, metrics = _settings_table(runs, settings), _metrics_table(runs)
    if html:
        write_page(html, runs, table, metrics, pairs)
    if as_json:
        print(_as_json(runs, settings, pairs))
        return
    text = [table.as_text() if table.rows else "", table.note, "\n" + metrics.as_text(), metrics.note]
    print("\n".join(filter(None, text)))
    for other, found in pairs:
        for split, pair in found.items():
            _print_pair(first, other, split, pair)
    if html:
        print(f"\nThe page is {html}")
