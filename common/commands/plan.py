"""`recipes plan`: which configurations fit on which GPUs, before anything is loaded."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from common.commands import places
from common.errors import fail, nearest, say
from common.run.yaml_file import read_yaml, value_of

import torch

# What a model is planned with that is no recipe's: rows of conversations.
ANY_MODEL = "sft_instruct"
NUMBERS = ("per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "max_prompt_length")
NUMBERS += ("max_completion_length", "max_pixels", "lora_r")


def settings_in(path: Path) -> dict[str, Any]:
    """Returns the settings in a yaml; those that the plan counts with are looked at.

    Args:
        path: The file.

    Raises:
        SystemExit: With code 2 and one line for a file that is not there, is no yaml, or has no number where one belongs.
    """
    root, settings = read_yaml(path, "the configuration", "pass an existing file to --config"), {}
    for key, node in root.value if root else []:
        where = f"{path}:{key.start_mark.line + 1}: `{key.value}`"
        settings[key.value] = value_of(node, where)
        if key.value in NUMBERS and not (type(settings[key.value]) is int and settings[key.value] > 0):
            fail(f"{where} must be a whole number above 0, not {settings[key.value]!r}")
    return settings


def configurations(folder: Path, config: str | None) -> dict[str, dict[str, Any]]:
    """Returns the settings of a recipe's configurations by their names, those of full size.

    Args:
        folder: The recipe.
        config: One of them, or another file; None for all.
    """
    whole = settings_in(folder / "config.yaml")
    if config is not None:
        path = folder / config if (folder / config).exists() and not Path(config).exists() else Path(config)
        return {config: whole | settings_in(path)}
    found = {"config.yaml": whole}
    for path in sorted(folder.glob("*.yaml")):
        settings = settings_in(path)
        # Configurations with a model of their own are lessons, small ones; other yaml files (a team's roles) are none.
        if path.name != "config.yaml" and "per_device_train_batch_size" in whole | settings and _is_variant(settings, whole):
            found[path.name] = whole | settings
    return found


def _is_variant(settings: dict[str, Any], whole: dict[str, Any]) -> bool:
    model = settings.get("model_name_or_path", whole["model_name_or_path"])
    return model == whole["model_name_or_path"] and bool({"use_peft", "learning_rate", "load_in_4bit"} & set(settings))


def _command(recipe: Path, fit: Any, settings: dict[str, Any], num_gpus: int, model: str | None) -> str:
    words = ["accelerate launch", f"--config_file accelerate_configs/{fit.stage}.yaml"]
    words += [f"--num_processes {num_gpus}"] if num_gpus > 1 else []
    words.append(f"{places.shown(recipe)}/train.py")
    words += [f"--config {fit.config}"] if fit.config != "config.yaml" else []
    words += [f"--model_name_or_path {model}"] if model else []
    if fit.micro_batch != settings["per_device_train_batch_size"]:
        words.append(f"--per_device_train_batch_size {fit.micro_batch} --gradient_accumulation_steps {fit.steps}")
    if fit.recompute and not settings.get("activation_checkpointing"):
        words.append("--activation_checkpointing true")
    return " ".join(words)


def _gpu_memory(given: float | None) -> float:
    """Returns the GiB of a GPU, of this machine's if none is given."""
    if given is not None:
        return given
    if not torch.cuda.is_available():
        fail("there is no GPU here whose memory is known; pass --gpu-memory, for example --gpu-memory 24")
    return min(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())) / 2**30


def _find(source: str) -> tuple[Path, str | None]:
    """Returns the recipe that is meant, and the model if it is another one than the recipe's."""
    names = [folder.name for folder in places.recipe_folders()]
    if source in names or (Path(source) / "train.py").is_file():
        return places.find_recipe(source), None
    from common.plan.configs import is_at_hand, shapes  # takes seconds, as below

    is_model = "/" in source or (Path(source) / "config.json").is_file() or is_at_hand(source)
    if not is_model:
        hint = (
            nearest(source, [*names, *shapes()])
            or f"; recipes: {', '.join(names)}; a model is a hub id, or a folder with a config.json"
        )
        fail(f"there is no recipe and no model `{source}`{hint}")
    return places.find_recipe(ANY_MODEL), source


def make_plan(source: str, num_gpus: int, gpu_memory: float, config: str | None) -> dict[str, Any]:
    """Plans a recipe, or a model with the settings of supervised fine-tuning.

    Args:
        source: A recipe's name or folder; a model's hub id, name or folder.
        num_gpus: GPUs.
        gpu_memory: GiB of each.
        config: One of the recipe's configurations, or another file; None for all.

    Returns:
        What `recipes plan --json` prints.
    """
    recipe, model = _find(source)
    found = configurations(recipe, config)
    from common.plan.configs import config_named
    from common.plan.fit import STAGES, best_fit
    from common.plan.passes import Unplanned
    from common.plan.records import measured, speed_of

    planned: dict[str, Any] = {"recipe": recipe.name, "gpus": num_gpus, "gpu_memory": round(gpu_memory, 1)}
    planned |= {"model": model or found[next(iter(found))]["model_name_or_path"], "fits": [], "does_not_fit": []}
    shape = config_named(planned["model"])
    for name, settings in found.items():
        for stage in STAGES:  # the first that fits is the fastest: what follows is not looked at
            if settings.get("load_in_4bit") and stage != "zero2":
                continue  # what is in 4 bits is not sharded, and small
            try:
                fit = best_fit(settings, shape, config=name, stage=stage, num_gpus=num_gpus, gpu_memory=gpu_memory)
            except Unplanned as error:
                fail(f"{planned['model']}: {error}")
            entry = {"config": name, "stage": stage, "micro_batch": fit.micro_batch, "gradient_accumulation_steps": fit.steps}
            entry |= {"activation_checkpointing": fit.recompute, "gib": fit.plan.gib, "takes_most": fit.plan.phase}
            entry |= {"host_gib": round(fit.host)} if fit.host else {}
            if not fit.fits:
                planned["does_not_fit"].append(entry)
                continue
            entry["command"] = _command(recipe, fit, settings, num_gpus, model)
            same = model is None and fit.micro_batch == settings["per_device_train_batch_size"]
            record = measured(recipe.name, name, stage, num_gpus, fit.micro_batch) if same else None
            if record:
                gpu, run = record
                entry["measured"] = {"gpu": gpu, "speed": speed_of(run), "peak": run["peak GPU memory GiB"]}
            planned["fits"].append(entry)
            break
        planned["parameters"] = fit.plan.counts.total - (fit.plan.counts.trained if settings.get("use_peft") else 0)
    return planned


def _line(entry: dict[str, Any]) -> str:
    gib = entry["gib"]
    parts = ", ".join(f"{name} {value}" for name, value in gib.items() if name not in ("peak", "needed"))
    rows = f"{entry['micro_batch']} rows at once x {entry['gradient_accumulation_steps']}"
    recomputed = ", recomputed" if entry["activation_checkpointing"] else ""
    host = f"; {entry['host_gib']} GiB of the host's memory" if "host_gib" in entry else ""
    return (
        f"  {entry['config']}, {entry['stage']}: {rows}{recomputed}: needs {gib['needed']:.1f} GiB, tensors {gib['peak']:.1f} "
        f"({entry['takes_most']}: {parts}){host}"
    )


def plan(source: str, num_gpus: int | None, gpu_memory: float | None, config: str | None, as_json: bool) -> None:
    """Prints what fits and what does not, with the launch commands.

    Args:
        source: See `make_plan`.
        num_gpus: GPUs; None for this machine's.
        gpu_memory: GiB of each; None for this machine's.
        config: See `make_plan`.
        as_json: Print it as JSON.

    Raises:
        SystemExit: With code 2 and one line for anything that is not there or makes no sense.
    """
    num_gpus = max(1, torch.cuda.device_count()) if num_gpus is None else num_gpus
    if num_gpus < 1:
        fail(f"--gpus {num_gpus}: pass how many GPUs there are, 1 or more")
    if gpu_memory is not None and not (math.isfinite(gpu_memory) and gpu_memory > 0):
        fail(f"--gpu-memory {gpu_memory:g}: pass the GiB of one GPU, for example 24")
    planned = make_plan(source, num_gpus, _gpu_memory(gpu_memory), config)
    if as_json:
        json.dump(planned, sys.stdout, indent=1)
        say("")
        return
    gpus = f"{num_gpus} GPU{'s' if num_gpus > 1 else ''} of {planned['gpu_memory']:g} GiB"
    say(f"{planned['recipe']} with {planned['model']}, {planned['parameters'] / 1e9:.2f} billion parameters, on {gpus}")
    say("Fits:" if planned["fits"] else "Nothing fits.")
    for entry in planned["fits"]:
        say(_line(entry))
        if "measured" in entry:
            found = entry["measured"]
            say(f"    measured: {found['speed']}, {found['peak']} GiB of tensors ({found['gpu']})")
        say(f"    {entry['command']}")
    if planned["does_not_fit"]:
        say("Does not fit, with as few rows at once as can be:")
        for entry in planned["does_not_fit"]:
            say(_line(entry))
