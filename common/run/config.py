"""Configuration: config.yaml, tiny.yaml where there is no GPU, a run's own settings, `--config FILE`, flags; later ones win."""

import os
import sys
from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.runs import RECORD, read_record, run_of
from common.errors import fail, nearest, say
from common.progress import doing
from common.run.arguments import RunArguments, check_run, default_output_dir, hide_token
from common.run.auto import leave_open, settle
from common.run.flags import check_built, check_path, check_values
from common.run.launch import check_deepspeed, check_gpus, choose_modules, choose_precision, start_alone
from common.run.memory import check_memory, end_in_one_line
from common.run.parser import Parser, read_settings
from common.run.refused import refuse, refuse_unread
from common.run.toolchain import check_toolchain

import torch
from transformers import TrainingArguments
from trl import ModelConfig

# What evaluate.py does not take from the run that it is given: what is the machine's, and what is saved with the model.
NOT_OF_THE_RUN = {"use_cpu", "deepspeed", "chat_template_file"}


def _take_config(argv: list[str], recipe: Path) -> Path | None:
    """Takes `--config FILE` out of argv; a file beside the recipe may be named without its folder."""
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
            check_path("--config", chosen)
            beside = recipe / chosen
            return beside if beside.exists() and not Path(chosen).exists() else Path(chosen)
    return None


def _settings_of_run(folder: str | None, recipe: Path, names: set[str]) -> dict[str, Any]:
    """Returns the settings with which a model was trained, if a folder is a run of this recipe or a checkpoint of one."""
    if not folder or not (run_of(folder) / RECORD).is_file():
        return {}
    run, record = read_record(folder)
    if record["recipe"] != recipe.name:
        say(f"{run} is a run of the recipe {record['recipe']}: its settings are not taken.")
        return {}
    say(f"Settings: those of the run {run}, unless --config or a flag says otherwise.")
    return {name: value for name, value in record["settings"].items() if name in names}


@dataclass(frozen=True)
class _Found:
    """What the files and the flags say.

    Attributes:
        settings: Every setting by name, as the last of them has it.
        chosen: Those that the user gave, in a file of `--config` and by flags.
        by_hand: Those of them that are not of one of the recipe's own files.
        usual_data: The data that the run would have without flags.
        name: That of the last file.
    """

    settings: dict[str, Any]
    chosen: dict[str, Any]
    by_hand: dict[str, Any]
    usual_data: str | None
    name: str


def _gather(argv: list[str], recipe: Path, parser: Parser, run_flag: str | None) -> _Found:
    """Reads the files and the flags; with `run_flag` also the settings of the run that this flag names."""
    config = _take_config(argv, recipe)
    flags, unknown = parser.given(argv)
    if unknown:
        flag = unknown[0].split("=")[0]
        fail(f"unknown argument `{flag}`{nearest(flag.lstrip('-'), list(parser.standard)) or '; `--help` lists every flag'}")
    files = [recipe / "config.yaml"]
    if config is None and not torch.cuda.is_available():
        files.append(recipe / "tiny.yaml")
    settings = parser.standard | {
        "report_to": "wandb" if os.environ.get("WANDB_API_KEY") else "none",
        "use_cpu": not torch.cuda.is_available(),
    }
    for file in files:
        settings |= read_settings(file, parser)
    given = read_settings(config, parser) if config else {}
    if config and not given:
        fail(f"{config} says nothing; write `key: value` lines into it, or leave --config away")
    hide_token(settings, given, flags)
    usual_data, chosen = (settings | given).get("dataset_name"), given | flags
    names = set(parser.standard) - NOT_OF_THE_RUN - {run_flag}
    of_run = _settings_of_run(chosen.get(run_flag), recipe, names) if run_flag else {}
    if len(files) > 1 and not of_run:
        tiny = "" if "model_name_or_path" in flags else ", a tiny model that learns in minutes"
        say(f"No GPU: using {os.path.relpath(files[-1])}{tiny} (--config FILE for another).")
    settings |= of_run
    by_hand = flags if config and config.resolve().parent == recipe else chosen
    if not (settings | chosen)["dataset_name"]:
        fail("dataset_name has no value; write `dataset_name: ...` into config.yaml, or pass --dataset_name")
    return _Found(settings | chosen, chosen, by_hand, usual_data, (config or files[-1]).stem)


def _resolve(
    found: _Found, recipe: str, stem: str, training_class: type[TrainingArguments], trains: bool, prepares: bool
) -> dict[str, Any]:
    """Returns every setting by name as the run has it: what was left open is chosen, and what cannot work is refused."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    values = Namespace(**dict(sorted(found.settings.items())))
    if trains and values.output_dir is None and not prepares:
        name = found.name + stem.removeprefix("train")  # of train_trainer.py: "tiny_trainer"
        values.output_dir = default_output_dir(recipe, name, values.dataset_name, found.usual_data)
    if not trains or prepares:
        leave_open(values)
    check_values(values, training_class, world_size, trains)
    if trains:
        settle(values, found.chosen, recipe, world_size)
    choose_precision(values)
    choose_modules(values)
    check_deepspeed(values, world_size)
    if trains:
        check_run(vars(values))
    if values.deepspeed:
        start_alone()
    check_gpus(trains)
    return vars(values)


def _build(values: dict[str, Any], classes: tuple[type, ...]) -> list[Any]:
    """Makes each of some dataclasses of the values that are its own."""
    try:
        return [cls(**{name: value for name, value in values.items() if name in cls.__dataclass_fields__}) for cls in classes]
    except (ValueError, ImportError) as error:
        fail(" ".join(str(error).split()))


def parse(
    script: str,
    arguments_class: type,
    training_class: type[TrainingArguments],
    argv: list[str] | None = None,
    *,
    refused: Mapping[str, str] | None = None,
    reads: Collection[str] | None = None,
    run_flag: str = "model_name_or_path",
) -> tuple[Any, TrainingArguments, ModelConfig]:
    """Reads a recipe's settings and checks them, before anything is loaded or written.

    Args:
        script: The recipe's `__file__`; its folder holds config.yaml and tiny.yaml and gives the run its name.
        arguments_class: The recipe's own dataclass of arguments.
        training_class: TRL's configuration class, for example `GRPOConfig`.
        argv: The command line without the script's name; `sys.argv[1:]` if not given.
        refused: Settings of the libraries that have no effect in this recipe, with the reason.
        reads: The settings that the script reads, if it reads few; others are refused where they are given by hand.
        run_flag: The flag that may name a run to be evaluated, whose settings are then taken.

    Returns:
        The recipe's arguments, the training arguments and the model arguments. The training arguments carry `run_values`,
        every setting by name as it was resolved, for the record that a run keeps of itself.

    Raises:
        SystemExit: With code 2 and one line on standard error for every mistake in the settings.
    """
    if argv is None:
        doing("loading the data and the model")
    recipe, stem = Path(script).resolve().parent, Path(script).stem
    prepares = stem.startswith("prepare")  # takes what train.py takes
    trains = prepares or stem.startswith("train")
    parser = Parser(arguments_class, *([RunArguments] if trains else []), training_class, ModelConfig)
    found = _gather(list(sys.argv[1:] if argv is None else argv), recipe, parser, None if trains else run_flag)
    if reads is not None:
        refuse_unread(found.by_hand, parser.standard, reads, Path(script).name)
    refuse(found.settings if trains else found.by_hand, parser.standard, training_class, refused or {})
    values = _resolve(found, recipe.name, stem, training_class, trains, prepares)
    args, training_args, model_args = _build(values, (arguments_class, training_class, ModelConfig))
    training_args.run_values, training_args.has_default_output_dir = values, found.settings["output_dir"] is None
    check_built(training_args, model_args, trains, prepares)
    check_toolchain(training_args)
    end_in_one_line(training_args, model_args)
    if trains and not prepares:
        check_memory(training_args, model_args)
    return args, training_args, model_args
