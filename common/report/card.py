"""The model card: what the model is, what was measured, how it was made."""

import math
import re
from pathlib import Path
from typing import Any

from common.data.hub import is_path
from common.data.sources import sources_of
from common.report.numbers import format_metric

import yaml

SOURCES = r"[\w./-]+(:[\d.]+)?( [\w./-]+(:[\d.]+)?)*"  # what can name data sets of the hub, with their weights


def _is_of_hub(name: str) -> bool:
    return name != "synthetic" and ":" not in name and not is_path(name) and not Path(name).exists()


def _named(name: str) -> str:
    """Returns how a card names a model or data: of a local one only the last part of its path, the rest is the machine's."""
    return Path(name).absolute().name if is_path(name) or Path(name).exists() else name


def _as_code(text: str) -> str:
    """Returns a text as Markdown shows it letter by letter, between more backticks than it holds (CommonMark 0.31.2, 6.1)."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


# What can begin something of Markdown's or HTML's: at the start of a line, within a word or a link, anywhere.
SIGNS = r"^[-+=]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|[^\w\s.,;:%()/=+'-]"


def _as_text(text: str) -> str:
    """Returns a text on one line of which Markdown and HTML make nothing: their signs are written as numbers."""
    text = re.sub(SIGNS, lambda match: f"&#{ord(match[0])};", " ".join(text.split()))
    return re.sub(r"^(\d+)([.)])", lambda match: f"{match[1]}&#{ord(match[2])};", text)  # a numbered list


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
    base, data = (" ".join(settings[name].split()) for name in ("model_name_or_path", "dataset_name"))  # on one line
    header: dict[str, Any] = {
        "library_name": "peft" if settings["use_peft"] else "transformers",
        "tags": ["zero-recipes", "trl"],
    }
    if _is_of_hub(base):
        header["base_model"] = base
    named = sources_of(data) if re.fullmatch(SOURCES, data) else []
    on_hub = [name for name, _ in named if _is_of_hub(name)]
    if on_hub:
        header["datasets"] = on_hub
    evaluations = [row for row in rows if "split" in row]
    before, after = ({row["split"]: row for row in order} for order in (reversed(evaluations), evaluations))
    last_step = next((row["step"] for row in after.values()), 0)
    lines = [
        "---",
        yaml.safe_dump(header, width=math.inf).strip(),
        "---",
        f"# {_as_text(model_name or folder.name)}: {title}",
        "",
        summary,
        "",
        f"Trained from {_as_code(_named(base))} on {_as_code(_named(data))}. The run's config.yaml holds every setting, its "
        "report.html curves and samples.",
        "",
        "## Measured",
        "",
        f"| set | problems | metric | before | after {last_step} steps |",
        "|---|---|---|---|---|",
    ]
    for split, row in after.items():
        for name, metric in row["metrics"].items():
            first = before[split]["metrics"].get(name)
            values = [format_metric(first) if first else "", format_metric(metric)]
            cells = [_as_text(split), str(row["count"]), _as_text(name), *values]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "In brackets: 95 % intervals.", "", "## How it was made", ""]
    lines += [f"- {_as_text(name)}: {_as_text(value)}" for name, value in facts.items()]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
