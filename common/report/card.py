"""The model card: what the model is, what was measured and how, how it was made, how to use it."""

import json
import math
import re
from pathlib import Path
from typing import Any

from common.data.hub import is_path
from common.data.sources import sources_of
from common.report.numbers import count_of, format_metric

import yaml
from huggingface_hub import metadata_load, try_to_load_from_cache

USE = "## Use"
SOURCES = r"[\w./-]+(:[\d.]+)?( [\w./-]+(:[\d.]+)?)*"  # what can name data sets of the hub, with their weights


def _is_of_hub(name: str) -> bool:
    return name != "synthetic" and ":" not in name and not is_path(name) and not Path(name).exists()


def _named(name: str) -> str:
    """Returns how a card names a model or data: of a local one only the last part of its path, the rest is the machine's."""
    return Path(name).absolute().name if is_path(name) or Path(name).exists() else name


def _data_of(setting: str) -> tuple[str, list[str]]:
    """Returns how a card names the data of a run, and which of its data sets the hub has."""
    sources = [source for source, _ in sources_of(setting)] if re.fullmatch(SOURCES, setting) else []
    name = " ".join(map(_named, sources)) if len(sources) > 1 else _named(setting)
    return name, [source for source in sources if _is_of_hub(source)]


def _on_a_line(text: str) -> str:
    return " ".join(text.split())


def _as_code(text: str) -> str:
    """Returns a text as Markdown shows it letter by letter, between more backticks than it holds (CommonMark 0.31.2, 6.1)."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


# What can begin something of Markdown's or HTML's: at the start of a line, within a word or a link, anywhere.
SIGNS = r"^[-+=[]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|\](?=[(:[])|[^\w\s.,;:%()[\]/=+'-]"


def _as_text(text: str) -> str:
    """Returns a text on one line of which Markdown and HTML make nothing: their signs are written as numbers."""
    text = re.sub(SIGNS, lambda match: f"&#{ord(match[0])};", _on_a_line(text))
    return re.sub(r"^(\d+)([.)])(?!\S)", lambda match: f"{match[1]}&#{ord(match[2])};", text)  # a numbered list


def _license_of(base: str) -> dict[str, str]:
    """Returns what the card of a base model says of its license: in its folder, or where the hub's files are kept."""
    try:
        card = Path(base) / "README.md" if Path(base).is_dir() else try_to_load_from_cache(base, "README.md")
        said = metadata_load(card) if isinstance(card, str | Path) and Path(card).is_file() else None
    except (OSError, ValueError, yaml.YAMLError):  # somebody else's file, and no name that the hub could know
        return {}
    said = said or {}
    names = ["license", "license_name", "license_link"]
    found = {name: said[name] for name in names if isinstance(said.get(name), str)}
    if "license_link" in found and not found["license_link"].startswith("https://"):
        del found["license_link"]  # a file beside that card
    return found


def _model_index(name: str, task: str, data: str, after: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what was measured in the form that the hub reads (`EvalResult` of huggingface_hub)."""
    results = []
    for split, row in after.items():
        metrics = [
            {"name": _on_a_line(metric), "type": _on_a_line(metric), "value": values["value"]}
            for metric, values in row["metrics"].items()
            if values["value"] is not None and math.isfinite(values["value"])
        ]
        if metrics:
            of = {"name": f"{data} ({_on_a_line(split)})", "type": data}
            results.append({"task": {"type": task}, "dataset": of, "metrics": metrics})
    return [{"name": _on_a_line(name), "results": results}]


def _measured(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the table of what was measured, from the first and the last evaluation of each held-out set."""
    last_step = next((row["step"] for row in after.values()), 0)
    lines = [f"| set | problems | metric | before | after {last_step} steps |", "|---|---|---|---|---|"]
    for split, row in after.items():
        for name, metric in row["metrics"].items():
            first = before[split]["metrics"].get(name)
            values = [format_metric(first) if first else "", format_metric(metric)]
            count = str(count_of(metric, row["count"]))
            lines.append(f"| {' | '.join([_as_text(split), count, _as_text(name), *values])} |")
    return lines


def _decoding(settings: dict[str, Any], after: dict[str, dict[str, Any]]) -> str:
    """Returns with what a model was measured, as a sentence."""
    is_sampled = any("self_consistency" in name for row in after.values() for name in row["metrics"])
    text = f"Decoding: greedy (the likeliest token, no penalty{'; self_consistency: sampled' if is_sampled else ''})"
    cut, prompt = _longest(settings), settings.get("system_prompt")
    text += f", cut after {cut} tokens" if cut else ""
    return f"{text}; the system prompt was {_as_code(_on_a_line(prompt))}." if prompt else f"{text}."


def _longest(settings: dict[str, Any]) -> int | None:
    return settings.get("max_new_tokens") or settings.get("max_completion_length")


def usage(folder: Path, settings: dict[str, Any]) -> str:
    """Returns how the model in a folder is used, as a section of its card; nothing if there are no weights in it.

    Args:
        folder: The model's folder: whole weights, or an adapter.
        settings: The run's settings by name.
    """
    adapted = (folder / "adapter_config.json").exists()
    if not any(folder.glob("*.safetensors")):
        return ""
    sees = (folder / "processor_config.json").exists()
    auto, reader = ("AutoModelForImageTextToText", "AutoProcessor") if sees else ("AutoModelForCausalLM", "AutoTokenizer")
    base, dtype = _on_a_line(settings["model_name_or_path"]), settings.get("dtype") or "auto"
    load = [f'model = {auto}.from_pretrained(folder, dtype="auto")']
    if adapted:
        where = "" if _is_of_hub(base) else "  # its base model: pass the folder in which you have it"
        load = [
            f"base = {json.dumps(_named(base), ensure_ascii=False)}{where}",
            f'model = PeftModel.from_pretrained({auto}.from_pretrained(base, dtype="{dtype}"), folder)',
        ]
    content = [{"type": "image", "path": "picture.png"}, {"type": "text", "text": "..."}] if sees else "..."
    system = [{"role": "system", "content": settings["system_prompt"]}] if settings.get("system_prompt") else []
    messages = json.dumps([*system, {"role": "user", "content": content}], ensure_ascii=False)
    template = 'add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"'
    greedy = f"max_new_tokens={_longest(settings) or 256}, do_sample=False, repetition_penalty=1.0"
    code = [
        *(["from peft import PeftModel"] if adapted else []),
        f"from transformers import {auto}, {reader}",
        "",
        'folder = "."  # this one, or its name on the hub',
        *load,
        f"reader = {reader}.from_pretrained(folder)",
        f"messages = {messages}",
        f"inputs = reader.apply_chat_template(messages, {template})",
        f"output = model.generate(**inputs, {greedy})",
        'print(reader.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
    return "\n".join([USE, "", "```python", *code, "```", ""])


def card_of_export(card: str, folder: Path, settings: dict[str, Any], exported: str) -> str:
    """Returns the card of a standalone model, made of the card of its run.

    Args:
        card: That of the run.
        folder: The standalone model.
        settings: The run's settings by name.
        exported: How it was made of the run.
    """
    card = card.partition(f"\n{USE}\n")[0].replace("library_name: peft", "library_name: transformers", 1)
    return f"{card.rstrip()}\n\n{usage(folder, settings)}\n## Export\n\n{exported}\n"


def _header(folder: Path, name: str, settings: dict[str, Any], after: dict[str, dict[str, Any]]) -> str:
    """Returns what the hub reads of a card: its first lines, in YAML."""
    base = _on_a_line(settings["model_name_or_path"])
    data, on_hub = _data_of(_on_a_line(settings["dataset_name"]))
    task = "image-text-to-text" if (folder / "processor_config.json").exists() else "text-generation"
    header: dict[str, Any] = {
        "library_name": "peft" if settings["use_peft"] else "transformers",
        "pipeline_tag": task,
        "tags": ["zero-recipes", "trl"],
        **_license_of(base),
        **({"base_model": base} if _is_of_hub(base) else {}),
        **({"datasets": on_hub} if on_hub else {}),
        **({"model-index": _model_index(name, task, data, after)} if after else {}),
    }
    return yaml.safe_dump(header, width=math.inf, allow_unicode=True).strip()


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
    name, base = model_name or folder.name, _on_a_line(settings["model_name_or_path"])
    data, _ = _data_of(_on_a_line(settings["dataset_name"]))
    evaluations = [row for row in rows if "split" in row]
    before, after = ({row["split"]: row for row in order} for order in (reversed(evaluations), evaluations))
    lines = [
        "---",
        _header(folder, name, settings, after),
        "---",
        f"# {_as_text(name)}: {title}",
        "",
        summary,
        "",
        f"Trained from {_as_code(_named(base))} on {_as_code(data)}. The run's config.yaml holds every setting, its "
        "report.html curves and samples.",
        "",
        "## Measured",
        "",
        *_measured(before, after),
        "",
        f"In brackets: 95 % intervals. {_decoding(settings, after)}",
        "",
        "## How it was made",
        "",
        *(f"- {_as_text(f'{_on_a_line(fact)}: {value}')}" for fact, value in facts.items()),
        "",
        usage(folder, settings),
    ]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
