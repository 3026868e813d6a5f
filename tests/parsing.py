"""The settings of a recipe, parsed as its scripts parse them."""

import dataclasses
from types import ModuleType

from common.run.config import parse

import pytest
from conftest import ROOT, recipe_modules
from trl import GRPOConfig, SFTConfig

GRPO, SFT, TEAM = "grpo_math", "sft_instruct", "multi_agent_grpo"


def arguments_of(recipe: str) -> ModuleType:
    with recipe_modules(recipe, ["arguments"]) as modules:
        return modules["arguments"]


def classes_of(recipe: str) -> list[type]:
    """Returns a recipe's dataclasses, the widest last."""
    found = [value for value in vars(arguments_of(recipe)).values() if dataclasses.is_dataclass(value)]
    found = [cls for cls in found if cls.__module__ == "arguments"]  # not that of the data of all recipes
    return sorted(found, key=lambda cls: len(dataclasses.fields(cls)))


def uses_grpo(recipe: str) -> bool:
    return "GRPOConfig" in (ROOT / "recipes" / recipe / "train.py").read_text()


def refusal(recipe: str, *argv: str, script: str = "train.py", capsys: pytest.CaptureFixture[str], **more) -> str:
    """Returns the line that a command ends with, which must be one of ours, with exit code 2."""
    training = GRPOConfig if uses_grpo(recipe) else SFTConfig
    refused = getattr(arguments_of(recipe), "REFUSED", None)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        parse(str(ROOT / "recipes" / recipe / script), classes_of(recipe)[-1], training, list(argv), refused=refused, **more)
    lines = capsys.readouterr().err.splitlines()
    assert (ended.value.code, len(lines)) == (2, 1), lines
    return lines[0].removeprefix("error: ")
