"""Configuration: config.yaml, tiny.yaml where there is no GPU, a run's own settings, `--config FILE`, flags; later ones win."""

import argparse
import json
import os
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from common.data.arguments import DataArguments
from common.data.files import check_path
from common.data.runs import RECORD, read_record
from common.errors import fail, nearest, say
from common.progress import stage
from common.run.arguments import RunArguments, check_run, default_output_dir, hide_token
from common.run.auto import leave_open, number_or_auto, settle, truth_or_auto
from common.run.flags import check_built, check_values
from common.run.launch import check_deepspeed, check_gpus, choose_precision, start_alone
from common.run.memory import end_in_one_line, warn_if_too_large
from common.run.refused import refuse, refuse_unread
from common.run.toolchain import check_toolchain
from common.run.yaml_file import read_yaml, value_of

import torch
import yaml
from transformers import TrainingArguments
from trl import ModelConfig, TrlParser

# What evaluate.py does not take from the run that it is given: what is the machine's, and what is saved with the model.
NOT_OF_THE_RUN = {"use_cpu", "deepspeed", "chat_template_file"}
LONGEST = 400  # characters of what argparse says, which repeats what was given
_UNSET = object()


def _allows(hint: Any, kind: type) -> bool:
    """Returns whether a type hint, or a part of its union, is of a kind."""
    return kind in {get_origin(part) or part for part in (hint, *get_args(hint))}


class _Together(argparse.Action):
    """Keeps several names as one text, as `common.data.sources` reads it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else shlex.join(values))


class _Parser(TrlParser):
    """TrlParser whose complaints are one line, and which says what was given apart from what is the default."""

    def __init__(self, *classes: type):
        super().__init__(classes, allow_abbrev=False, exit_on_error=False, conflict_handler="resolve")
        self.add_argument("--report_to", "--report-to", nargs="+", default="none", help="Trackers, one or more, or `none`.")
        self.hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
        self.add_argument("--per_device_train_batch_size", "--per-device-train-batch-size", type=number_or_auto, default=8)
        recompute = ("--activation_checkpointing", "--activation-checkpointing")
        self.add_argument(*recompute, type=truth_or_auto, nargs="?", const=True, default=None)
        if issubclass(classes[0], DataArguments):
            text = classes[0].__dataclass_fields__["dataset_name"].metadata["help"]
            self.add_argument("--dataset_name", "--dataset-name", nargs="+", action=_Together, help=text)
        self.set_defaults_with_config(dataset_name=None)  # it may stand in any file: asked for at the end
        self.standard = vars(self.parse_known_args([])[0])

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; `--help` lists every flag")

    def given(self, argv: list[str], where: str = "") -> tuple[dict[str, Any], list[str]]:
        """Parses flags.

        Args:
            argv: The flags.
            where: The file and the line in which they stand, for the error.

        Returns:
            The value of each that is given, by its name, and what is left over.
        """
        try:
            values, left = self.parse_known_args(argv, Namespace(**dict.fromkeys(self.standard, _UNSET)))
        except argparse.ArgumentError as error:
            message = error.message if len(error.message) < LONGEST else f"{error.message[:LONGEST]}..."
            choice = re.fullmatch(r"invalid choice: (.*) \(choose from (.*)\)", message)
            if choice:
                word, choices = choice[1].strip("'"), [known.strip(" '") for known in choice[2].split(",")]
                message = f"there is no `{word}`{nearest(word, choices) or '; there is: ' + ', '.join(choices)}"
            if where:
                fail(f"{where}: `{argv[0].split('=')[0].lstrip('-')}`: {message}")
            fail(f"argument {error.argument_name}: {message}{'' if '?' in message else '; `--help` lists every flag'}")
        return {name: value for name, value in vars(values).items() if value is not _UNSET}, left


def _value(parser: _Parser, key: str, node: yaml.Node, where: str) -> Any:
    """Returns a value of a yaml as the parser reads it: the text that stands there, as if it were given as a flag."""
    hint = parser.hints[key]
    if node.tag == "tag:yaml.org,2002:null":
        if not _allows(hint, NoneType):
            fail(f"{where}: `{key}` has no value; write one, or remove the line")
        return None
    if isinstance(node, yaml.MappingNode):
        if not _allows(hint, dict):
            fail(f"{where}: `{key}` takes one value, not `key: value` lines")
        return value_of(node, f"{where}: `{key}`")
    if isinstance(node, yaml.ScalarNode):
        return parser.given([f"--{key}={node.value}"], where)[0][key]
    if not _allows(hint, list):
        fail(f"{where}: `{key}` takes one value, not a list")
    items = [
        item.value if isinstance(item, yaml.ScalarNode) else json.dumps(value_of(item, f"{where}: `{key}`"), default=str)
        for item in node.value
    ]
    values, left = parser.given([f"--{key}", *items], where) if items else ({key: []}, [])
    return items if left else values[key]


def _read_yaml(path: Path, parser: _Parser) -> dict[str, Any]:
    root, values = read_yaml(path, "the configuration", "pass an existing file to --config"), {}
    for key_node, node in root.value if root else []:
        key, where = key_node.value, f"{path}:{key_node.start_mark.line + 1}"
        if key not in parser.standard:
            fail(f"{where}: unknown key `{key}`{nearest(key, list(parser.standard)) or '; `--help` lists every setting'}")
        values[key] = _value(parser, key, node, where)
        if key.endswith(("_name_or_path", "_file")) and isinstance(values[key], str) and values[key].startswith("./"):
            values[key] = str(path.parent / values[key])  # a model beside the yaml moves with it when a recipe is copied
    return values


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
    if not folder:
        return {}
    is_checkpoint = re.fullmatch(r"checkpoint-\d+", Path(folder).name)
    if not ((Path(folder).parent if is_checkpoint else Path(folder)) / RECORD).is_file():
        return {}
    run, record = read_record(folder)
    if record["recipe"] != recipe.name:
        say(f"{run} is a run of the recipe {record['recipe']}: its settings are not taken.")
        return {}
    say(f"Settings: those of the run {run}, unless --config or a flag says otherwise.")
    return {name: value for name, value in record["settings"].items() if name in names}


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
        stage("loading the data and the model")
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = Path(script).resolve().parent
    prepares = Path(script).stem.startswith("prepare")  # takes what train.py takes
    trains = prepares or Path(script).stem.startswith("train")
    parser = _Parser(arguments_class, *([RunArguments] if trains else []), training_class, ModelConfig)

    config = _take_config(argv, recipe)
    flags, unknown = parser.given(argv)
    if unknown:
        flag = unknown[0].split("=")[0]
        fail(f"unknown argument `{flag}`{nearest(flag.lstrip('-'), list(parser.standard)) or '; `--help` lists every flag'}")
    files = [recipe / "config.yaml"]
    if config is None and not torch.cuda.is_available():
        files.append(recipe / "tiny.yaml")
        say(f"No GPU: using {os.path.relpath(files[-1])}, a tiny model that learns in minutes (--config FILE for another).")
    settings = parser.standard | {
        "report_to": "wandb" if os.environ.get("WANDB_API_KEY") else "none",
        "use_cpu": not torch.cuda.is_available(),
    }
    for file in files:
        settings |= _read_yaml(file, parser)
    given = _read_yaml(config, parser) if config else {}
    if config and not given:
        fail(f"{config} says nothing; write `key: value` lines into it, or leave --config away")
    hide_token(settings, given, flags)
    usual, chosen = (settings | given).get("dataset_name"), given | flags
    if not trains:
        settings |= _settings_of_run(chosen.get(run_flag), recipe, set(parser.standard) - NOT_OF_THE_RUN - {run_flag})
    settings |= chosen

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    values = Namespace(**dict(sorted(settings.items())))
    if not values.dataset_name:
        fail("dataset_name has no value; write `dataset_name: ...` into config.yaml, or pass --dataset_name")
    by_hand = flags if config and config.resolve().parent == recipe else chosen
    if reads is not None:
        refuse_unread(by_hand, parser.standard, reads, Path(script).name)
    refuse(settings if trains else by_hand, parser.standard, training_class, refused or {})
    has_default_output_dir = values.output_dir is None
    if trains and has_default_output_dir and not prepares:
        name = (config or files[-1]).stem + Path(script).stem.removeprefix("train")  # of train_trainer.py: "tiny_trainer"
        values.output_dir = default_output_dir(recipe.name, name, values.dataset_name, usual)
    if not trains or prepares:
        leave_open(values)
    check_values(values, training_class, world_size, trains)
    if trains:
        settle(values, chosen, recipe.name, world_size)
    choose_precision(values)
    check_deepspeed(values, world_size)
    if trains:
        check_run(vars(values))
    if values.deepspeed:
        start_alone()
    check_gpus(trains)

    run_values = dict(vars(values))
    try:
        args, training_args, model_args = (
            cls(**{name: value for name, value in run_values.items() if name in cls.__dataclass_fields__})
            for cls in (arguments_class, training_class, ModelConfig)
        )
    except (ValueError, ImportError) as error:
        fail(" ".join(str(error).split()))
    training_args.run_values, training_args.has_default_output_dir = run_values, has_default_output_dir
    check_built(training_args, model_args, trains, prepares)
    check_toolchain(training_args)
    end_in_one_line(training_args, model_args)
    if trains and not prepares:
        warn_if_too_large(training_args, model_args)
    return args, training_args, model_args
