"""A yaml file as nodes, which know their lines; what is no plain yaml is answered in one line."""

import re
from pathlib import Path
from typing import Any

from common.data.files import DEEPEST
from common.errors import brief, fail

import yaml


def _is_deep(text: str) -> bool:
    """Returns whether brackets are nested deeper than settings are: the parser would take minutes over a thousand of them."""
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        if depth > DEEPEST:
            return True
    return False


def _check_keys(node: yaml.Node, path: Path) -> None:
    """Refuses keys that stand twice or are no words, at every depth."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, path)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                fail(f"{path}:{line}: a key that is no word; write one `key: value` a line")
            if key.value in lines:
                fail(f"{path}:{line}: `{key.value}` stands in line {lines[key.value]} already; remove one of the two")
            lines[key.value] = line
            _check_keys(value, path)


def read_yaml(path: Path, what: str, cure: str) -> yaml.MappingNode | None:
    """Reads a yaml that holds `key: value` lines.

    Args:
        path: The file.
        what: What it is, for the error of a file that is not there.
        cure: What to do then.

    Returns:
        The lines; None if there are none.

    Raises:
        SystemExit: With code 2 and one line for a file that cannot be read, is no such yaml, or has aliases, which may grow
            without bound.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if _is_deep(text):
            raise RecursionError
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                fail(f"{path}:{event.start_mark.line + 1}: `*{event.anchor}` is an alias; write out what it stands for")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            kind = "list" if isinstance(root, yaml.SequenceNode) else "text"
            fail(f"{path} must hold `key: value` lines, not a {kind}")
        _check_keys(root, path)
    except OSError as error:
        fail(f"cannot read {what} {path} ({error.strerror}); {cure}")
    except RecursionError:
        fail(f"{path} is nested too deeply; write one `key: value` a line")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = f"{path}:{error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else path
        fail(f"{where} is not valid yaml ({getattr(error, 'problem', None) or brief(error)}); write one `key: value` a line")
    return root


def value_of(node: yaml.Node, where: str) -> Any:
    """Returns what a node holds: plain values, lists and dictionaries.

    Args:
        node: A node of `read_yaml`.
        where: The file and the line, for the error.

    Raises:
        SystemExit: With code 2 and one line for a value that is none, such as the 40th of January or an object of Python.
    """
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        fail(f"{where}: not a plain value ({getattr(error, 'problem', None) or brief(error)}); write texts, numbers or true")
