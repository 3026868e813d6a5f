"""The parser of a recipe's settings: flags, and the same settings in a yaml; a mistake is one line, with the nearest name."""

import argparse
import json
import re
import shlex
from argparse import Namespace
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from common.data.arguments import DataArguments
from common.errors import fail, nearest
from common.run.auto import number_or_auto, truth_or_auto
from common.run.yaml_file import read_yaml, value_of

import yaml
from trl import TrlParser

LONGEST = 400  # characters of what argparse says, which repeats what was given
_UNSET = object()


def _allows(hint: Any, kind: type) -> bool:
    """Returns whether a type hint, or a part of its union, is of a kind."""
    return kind in {get_origin(part) or part for part in (hint, *get_args(hint))}


class _Together(argparse.Action):
    """Keeps several names as one text, as `common.data.sources` reads it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else shlex.join(values))


class Parser(TrlParser):
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


def _value(parser: Parser, key: str, node: yaml.Node, where: str) -> Any:
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


def read_settings(path: Path, parser: Parser) -> dict[str, Any]:
    """Reads the settings in a yaml.

    Args:
        path: The file.
        parser: Knows the settings.

    Returns:
        The value of each that stands there, by its name.

    Raises:
        SystemExit: With code 2 and one line that names the file and the line.
    """
    root, values = read_yaml(path, "the configuration", "pass an existing file to --config"), {}
    for key_node, node in root.value if root else []:
        key, where = key_node.value, f"{path}:{key_node.start_mark.line + 1}"
        if key not in parser.standard:
            fail(f"{where}: unknown key `{key}`{nearest(key, list(parser.standard)) or '; `--help` lists every setting'}")
        values[key] = _value(parser, key, node, where)
        if key.endswith(("_name_or_path", "_file")) and isinstance(values[key], str) and values[key].startswith("./"):
            values[key] = str(path.parent / values[key])  # a model beside the yaml moves with it when a recipe is copied
    return values
