"""A mkdocs hook: the references of settings and of commands, made of the code and the yamls at each build."""

import json
import re
import runpy
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from common.commands.main import app
from common.generate.chat import chat_parser

import typer
import yaml
from mkdocs.structure.files import File

CONFIGURATION = """# Configuration reference

Every setting of each recipe that has a line in its `config.yaml` or `tiny.yaml`, and every flag of its own. `--NAME VALUE` on
the command line wins over both files ([Settings](index.md#settings)); `-` is what the library does by itself. Every other field
of TRL's configuration class and of its `ModelConfig` is a flag too: `train.py --help` lists them with the libraries' words.

This page is made of the recipes' `arguments.py` and of the comments in their yamls when the site is built.
"""

COMMANDS = """# Command reference

What `recipes --help` and `recipes COMMAND --help` print; [Quick start](index.md#the-console-script) says more of some. The
flags of `train.py` and `evaluate.py`, which `recipes prepare` and `recipes eval` take too, are in the
[Configuration reference](configuration.md).
"""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _head(*cells: str) -> str:
    return "\n" + _row(*cells) + "|" + "---|" * len(cells) + "\n"


def _said(value: Any) -> str:
    """Returns a value as it is written in a yaml or on the command line."""
    return "-" if value is None else f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _comments(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Reads the lines of a yaml.

    Returns:
        For each key its comment: that behind it, or the lines right above it; and the heading that it stands under.
    """
    comments, headings, above, heading = {}, {}, "", ""
    for line in text.splitlines():
        if found := re.match(r"# --- (.*) ---", line):
            above, heading = "", found[1]
        elif found := re.match(r"# (.*)", line):
            above = f"{above} {found[1]}".strip()
        elif found := re.match(r"(\w+):(?:.*?\s# (.*))?", line):
            comments[found[1]], headings[found[1]], above = found[2] or above, heading, ""
        else:
            above = above if line.startswith(" ") else ""
    return comments, headings


def _default(field: Field) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _recipe(folder: Path) -> str:
    """Returns the section of a recipe: its settings by the headings of config.yaml, its own other flags, its other yamls."""
    arguments = runpy.run_path(str(folder / "arguments.py"))
    name, library = re.search(r"parse\(__file__, (\w+), (\w+)\b", (folder / "train.py").read_text()).groups()
    own = {field.name: field for field in fields(arguments[name])}
    texts = {file.name: file.read_text() for file in sorted(folder.glob("*.yaml"))}
    config, tiny = (yaml.safe_load(texts[file]) for file in ("config.yaml", "tiny.yaml"))
    (comments, headings), (of_tiny, _) = _comments(texts["config.yaml"]), _comments(texts["tiny.yaml"])

    def row(key: str) -> str:
        does = [own[key].metadata["help"] if key in own else "", comments.get(key, "")]
        does += [f"tiny.yaml: {of_tiny[key]}"] if of_tiny.get(key) else []
        default = _default(own[key]) if key in own else None
        value = config.get(key, default)
        return _row(f"`{key}`", _said(value), _said(tiny.get(key, value)), "<br>".join(filter(None, does)))

    title = (folder / "README.md").read_text().partition("\n")[0].removeprefix("# ").partition(":")[0]
    text = f"\n## {title}\n\n`recipes/{folder.name}`: its own flags, those of TRL's `{library}`, and `ModelConfig`.\n"
    rest = [key for key in [*own, *tiny] if key not in config]
    groups = {heading: [key for key in config if headings[key] == heading] for heading in dict.fromkeys(headings.values())}
    for heading, keys in {**groups, "Not in config.yaml": list(dict.fromkeys(rest))}.items():
        text += f"\n**{heading}**\n" + _head("setting", "config.yaml", "tiny.yaml", "what it does") + "".join(map(row, keys))
    if "EvaluationArguments" in arguments:
        more = [field for field in fields(arguments["EvaluationArguments"]) if field.name not in own]
        text += "\n**evaluate.py alone**\n" + _head("setting", "default", "what it does")
        text += "".join(_row(f"`{field.name}`", _said(_default(field)), field.metadata["help"]) for field in more)
    others = [file for file in texts if file not in ("config.yaml", "tiny.yaml") and texts[file].startswith("# ")]
    text += "\n**Other files**\n" + _head("file", "what it is") if others else ""
    for file in others:
        first = " ".join(re.match(r"(?:# .*\n)+", texts[file])[0].replace("# ", "").split())
        text += _row(f"`{file}`", first)
    return text


def configuration(root: Path) -> str:
    """Returns the page of all settings of all recipes, in the order of the table in the repository's README."""
    names = re.findall(r"\]\(recipes/(\w+)/README\.md\)", (root / "README.md").read_text())
    return CONFIGURATION + "".join(_recipe(root / "recipes" / name) for name in names)


def commands() -> str:
    """Returns the page of the subcommands of `recipes`, each with its arguments and options."""
    group = typer.main.get_command(app)
    text = COMMANDS
    for name, command in group.commands.items():
        context = command.make_context(f"recipes {name}", [], resilient_parsing=True)
        text += f"\n## recipes {name}\n\n{command.help}\n\n```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
        records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
        rows = [(f"`{left.partition(' <')[0]}`", right) for left, right in records if left != "--help"]
        if name == "chat":
            options = [action for action in chat_parser("")._actions if action.option_strings and action.dest != "help"]
            rows += [(f"`{action.option_strings[0]}`", action.help) for action in options]
        text += _head("argument", "what it is") + "".join(_row(*row) for row in rows) if rows else ""
    return text


def on_files(files, config):
    """Called by mkdocs with the files of the site; adds the two pages."""
    root = Path(config.config_file_path).parent
    files.append(File.generated(config, "configuration.md", content=configuration(root)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files
