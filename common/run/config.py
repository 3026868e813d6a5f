"""Configuration: a recipe's config.yaml, tiny.yaml where there is no GPU, `--config FILE`, flags; later ones win."""

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from common.errors import brief, fail, nearest, say
from common.run.arguments import RunArguments, check_run, default_output_dir
from common.run.grpo import check_generation_batch, check_save_steps
from common.run.toolchain import check_toolchain

import torch
import yaml
from transformers import TrainingArguments
from trl import ModelConfig, TrlParser


class _Parser(TrlParser):
    """TrlParser whose complaints are one line instead of the usage of 200 flags, or the list of 50 choices."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = nearest(str(value), choices) or f"; there is: {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"there is no `{value}`{hint}")

    def error(self, message: str) -> NoReturn:
        fail(message if "?" in message else f"{message}; `--help` lists every flag")


def _check_type(path: Path, parser: _Parser, action: argparse.Action, value: Any) -> None:
    """Fails if a flag could not take the value that a yaml gives it."""
    for item in value if isinstance(value, list) and action.nargs else [value]:
        if item is None or isinstance(item, dict):
            continue
        try:
            parser._check_value(action, parser._get_value(action, str(item)))
        except argparse.ArgumentError as error:
            fail(f"{path}: `{action.dest}`: {error.message}")


def _read_yaml(path: Path, parser: _Parser) -> dict[str, Any]:
    # Reversed: a flag that is on by default has a second action, `--no_FLAG`; the first one is meant.
    known = {action.dest: action for action in reversed(parser._actions) if action.dest != "help"}
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        fail(f"cannot read the configuration {path} ({error.strerror}); pass an existing file to --config")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = f"{path}:{error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else path
        fail(f"{where} is not valid yaml ({getattr(error, 'problem', None) or brief(error)}); write one `key: value` a line")
    if not isinstance(values, dict):
        fail(f"{path} must hold `key: value` lines, not a {type(values).__name__}")
    for key, value in values.items():
        if key not in known:
            fail(f"{path}: unknown key `{key}`{nearest(str(key), list(known))}")
        _check_type(path, parser, known[key], value)
        if key.endswith("_name_or_path") and isinstance(value, str) and value.startswith("./"):
            values[key] = str(path.parent / value)  # a model beside the yaml moves with it when a recipe is copied
    return values


def _config_files(recipe: Path, argv: list[str]) -> list[Path]:
    """Takes `--config FILE` out of argv and returns the files to read, in order."""
    chosen = None
    for position, argument in enumerate(argv):
        if argument == "--config" or argument.startswith("--config="):
            if "=" in argument:
                chosen = argument.split("=", 1)[1]
                del argv[position]
            elif position + 1 < len(argv):
                chosen = argv[position + 1]
                del argv[position : position + 2]
            else:
                fail("--config needs a file, for example --config recipes/grpo_math/lora_8gb.yaml")
            break
    files = [recipe / "config.yaml"]
    if chosen is not None:
        beside = recipe / chosen
        files.append(beside if beside.exists() and not Path(chosen).exists() else Path(chosen))
    elif not torch.cuda.is_available():
        files.append(recipe / "tiny.yaml")
        say(f"No GPU: using {os.path.relpath(files[-1])}, a tiny model that learns in minutes (--config FILE for another).")
    return files


def _resolve_precision(values: argparse.Namespace) -> None:
    """Makes the launcher and the arguments agree on mixed precision, as DeepSpeed asks: the arguments win, if they say any."""
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if launcher is None or (values.bf16 is None and not values.fp16 and launcher == "bf16"):
        return
    asked = "fp16" if values.fp16 else {True: "bf16", False: "no", None: launcher}[values.bf16]
    os.environ["ACCELERATE_MIXED_PRECISION"] = asked
    values.bf16, values.fp16 = asked == "bf16", asked == "fp16"


def _check_quantization(model_args: ModelConfig, training_args: TrainingArguments) -> None:
    """Refuses what cannot train: frozen 4- or 8-bit weights without adapters, or under ZeRO-3."""
    name = "load_in_4bit" if model_args.load_in_4bit else "load_in_8bit"
    if not model_args.use_peft:
        fail(f"{name} without use_peft: quantised weights are frozen, so nothing would be trained; add `--use_peft true`")
    if training_args.deepspeed_plugin is not None and training_args.deepspeed_plugin.zero_stage == 3:
        # transformers shards only what is not quantised while it loads (PreTrainedModel.from_pretrained), so nothing would be
        # saved (bitsandbytes#1249). A tiny model began with a loss of 5.4, that of random weights, instead of 1.9.
        fail(
            f"{name} under ZeRO-3: quantised weights are not sharded when they are loaded, and are wrong after DeepSpeed has "
            "sharded them; launch with zero2.yaml, where each GPU holds them whole"
        )


def parse(
    script: str, arguments_class: type, training_class: type[TrainingArguments], argv: list[str] | None = None
) -> tuple[Any, TrainingArguments, ModelConfig]:
    """Reads a recipe's settings and checks them, before anything is loaded or written.

    Args:
        script: The recipe's `__file__`; its folder holds config.yaml and tiny.yaml and gives the run its name.
        arguments_class: The recipe's own dataclass of arguments.
        training_class: TRL's configuration class, for example `GRPOConfig`.
        argv: The command line without the script's name; `sys.argv[1:]` if not given.

    Returns:
        The recipe's arguments, the training arguments and the model arguments. The training arguments carry `run_values`,
        every setting by name as it was resolved, for the record that a run keeps of itself.

    Raises:
        SystemExit: With code 2 and one line on standard error for every mistake in the settings.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = Path(script).resolve().parent
    trains = Path(script).stem.startswith("train")
    own = (arguments_class, RunArguments) if trains else (arguments_class,)
    parser = _Parser((*own, training_class, ModelConfig), allow_abbrev=False)

    files = _config_files(recipe, argv)
    variant = Path(script).stem.removeprefix("train") if trains else ""  # of train_trainer.py: "_trainer"
    settings: dict[str, Any] = {
        "report_to": "wandb" if os.environ.get("WANDB_API_KEY") else "none",
        "use_cpu": not torch.cuda.is_available(),
    }
    for file in files:
        settings.update(_read_yaml(file, parser))
    parser.set_defaults_with_config(**settings)

    values, unknown = parser.parse_known_args(argv)
    if unknown:
        flag = unknown[0].split("=")[0]
        fail(f"unknown argument `{flag}`{nearest(flag.lstrip('-'), list(vars(values)))}")
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if "num_generations" in values:
        check_generation_batch(values, world_size)
        check_save_steps(values, world_size)
    _resolve_precision(values)
    if values.hub_token:
        os.environ["HF_TOKEN"], values.hub_token = values.hub_token, None  # for the hub, and never written down
    has_default_output_dir = values.output_dir is None
    if has_default_output_dir:
        name = f"{files[-1].stem}{variant}"
        values.output_dir = default_output_dir(recipe.name, name, values.dataset_name, settings.get("dataset_name"))
    if trains:
        check_run(vars(values))

    if values.deepspeed and "RANK" not in os.environ:
        # Plain `python` with --deepspeed: one process, which DeepSpeed still wants to hear from a launcher.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}

    run_values = dict(sorted(vars(values).items()))
    try:
        args, training_args, model_args = (
            cls(**{name: value for name, value in run_values.items() if name in cls.__dataclass_fields__})
            for cls in (arguments_class, training_class, ModelConfig)
        )
    except (ValueError, ImportError) as error:
        fail(" ".join(str(error).split()))
    training_args.run_values, training_args.has_default_output_dir = run_values, has_default_output_dir
    check_toolchain(training_args)
    if trains and (model_args.load_in_4bit or model_args.load_in_8bit):
        _check_quantization(model_args, training_args)
    if training_args.deepspeed_plugin is None and model_args.dtype == "bfloat16" and not model_args.use_peft:
        fail(
            "dtype bfloat16 for all weights needs DeepSpeed, which keeps a float32 copy; without one small updates are rounded "
            "away: add `--dtype float32` (the computation stays in bfloat16), or launch with a zero*.yaml"
        )

    gpus = torch.cuda.device_count()
    if gpus > int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE", "1")):
        say(f"{gpus} GPUs are visible and this run uses {world_size}: add `--num_processes {gpus}` to use them all.")
    return args, training_args, model_args
