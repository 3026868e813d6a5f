"""The model card: what the model is, what was measured, how it was made."""

from pathlib import Path
from typing import Any

from common.data.sources import sources_of
from common.report.numbers import format_metric

import yaml


def write_card(
    folder: Path,
    *,
    title: str,
    summary: str,
    settings: dict[str, Any],
    rows: list[dict[str, Any]],
    facts: dict[str, str],
    model_name: str | None = None,
) -> None:
    """Writes the README.md of a trained model, with its measures before and after training.

    Args:
        folder: The model's folder.
        title: What was done, for example "GRPO on math".
        summary: One sentence.
        settings: The run's settings by name; names the base model and the data.
        rows: The rows of metrics.jsonl in order; those with a `split` are evaluations.
        facts: Lines such as the launcher, the time and the versions.
        model_name: The model's name; the folder's if not given.
    """
    base, data = settings["model_name_or_path"], settings["dataset_name"]
    header: dict[str, Any] = {
        "library_name": "peft" if settings["use_peft"] else "transformers",
        "tags": ["zero-recipes", "trl"],
    }
    if not Path(base).exists():
        header["base_model"] = base
    on_hub = [name for name, _ in sources_of(data) if name != "synthetic" and not Path(name).exists()]
    if on_hub:
        header["datasets"] = on_hub
    evaluations = [row for row in rows if "split" in row]
    before, after = ({row["split"]: row for row in order} for order in (reversed(evaluations), evaluations))
    last_step = next((row["step"] for row in after.values()), 0)
    lines = [
        "---",
        yaml.safe_dump(header).strip(),
        "---",
        f"# {model_name or folder.name}: {title}",
        "",
        summary,
        "",
        f"Trained from `{base}` on `{data}`. The run's config.yaml holds every setting, its report.html curves and samples.",
        "",
        "## Measured",
        "",
        f"| set | problems | metric | before | after {last_step} steps |",
        "|---|---|---|---|---|",
    ]
    for split, row in after.items():
        for name, metric in row["metrics"].items():
            first = before[split]["metrics"].get(name)
            cells = [split, str(row["count"]), name, format_metric(first) if first else "", format_metric(metric)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "In brackets: 95 % intervals.", "", "## How it was made", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    (folder / "README.md").write_text("\n".join(lines) + "\n")
