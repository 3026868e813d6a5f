"""What was measured on GPUs: the records under benchmarks/results."""

import json
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
NAMES = ("sft_gpu", "grpo_gpu", "ocr_gpu", "micro_batch_gpu", "scaling_gpu")
# Of what is measured the units, as the records name them.
SPEEDS = ("images/s/GPU", "tokens/s/GPU", "tokens/s, prompts included")


def records() -> Iterator[tuple[str, dict]]:
    """Yields each run at full size that was measured: the GPU's name, and what was recorded of the run.

    A run's `settings then` are those of its recipe's config.yaml that have changed since. A run with a `code then` is left
    out: the code has changed since, and with it the memory that it takes.
    """
    for path in (RESULTS / f"{name}.json" for name in NAMES):
        if not path.exists():  # installed without the repository around it
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        for record in content if isinstance(content, list) else [content]:
            for run in record["runs"]:
                if run["configuration"] != "tiny.yaml" and "peak GPU memory GiB" in run and "code then" not in run:
                    then = record.get("config.yaml then", {}).get(run["recipe"], {})
                    yield record["GPU"], run | {"settings then": then}


def speed_of(run: dict) -> str:
    """Returns how fast a recorded run was, with its unit; nothing if that was not recorded.

    Args:
        run: A run of `records`.
    """
    unit = next((unit for unit in SPEEDS if unit in run), None)
    if unit is None:
        return ""
    per_gpu = run[unit] / run["gpus"] if unit == SPEEDS[-1] else run[unit]
    return f"{per_gpu:,.0f} tokens/s a GPU" if "tokens" in unit else f"{per_gpu:.3g} images/s a GPU"


def measured(recipe: str, config: str, stage: str, num_gpus: int, rows: int | None = None) -> tuple[str, dict] | None:
    """Returns what was measured of a configuration as it stands, the last in the order of `NAMES`; None if it was not.

    Args:
        recipe: A recipe's name.
        config: The name of one of its configurations.
        stage: The name of one of accelerate's, such as `zero2`.
        num_gpus: How many GPUs.
        rows: At once; None for however many.
    """
    wanted = (recipe, config, stage, num_gpus)
    found = None
    for gpu, run in records():
        given = tuple(run[name] for name in ("recipe", "configuration", "stage", "gpus"))
        same_rows = rows is None or run.get("rows a device at once", rows) == rows
        if given == wanted and run["variant"] in ("", "64") and same_rows and speed_of(run):
            found = gpu, run
    return found
