"""Who imports what: a recipe needs no other recipe, and what is imported is declared in pyproject.toml, and the reverse."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import ROOT, run_command

RECIPES = sorted(script.parent for script in (ROOT / "recipes").glob("*/train.py"))

# What is declared and never imported here: where the setting or the command stands for which it is needed.
LOADED_BY_NAME = {
    "torchvision": ("recipes/*/*.py", "qwen_vl_utils"),  # imports it, and does not declare it
    "hatchling": ("pyproject.toml", "hatchling.build"),
    "editables": ("Makefile", "--editable"),  # hatchling links the checkout with it
    "gguf": ("benchmarks/*.py", "gguf_file="),  # transformers reads the format with it
    "openai": ("common/commands/*.py", "is_serve_available"),  # transformers' server is made of its types
    "ipykernel": ("docs/notebooks.py", '"name": "python3"'),  # the kernel that a notebook asks for
    "import-linter": ("Makefile", "lint-imports"),
    "mkdocs-material": ("mkdocs.yml", "name: material"),
    "pytest-timeout": ("pyproject.toml", "timeout = "),
    "pytest-xdist": ("Makefile", "-n 2"),
    "ruff": ("Makefile", "ruff check"),
    "uv": ("Makefile", "uv pip"),
}

# What is imported in another environment alone: where that is made.
ELSEWHERE = {"minijinja": ("Makefile", '"minijinja>=')}


def imported(files: Iterable[Path]) -> dict[str, str]:
    """Returns the top-level modules that files import, wherever in them, each with a place where it is."""
    found = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "." * node.level]
            for name in names:
                found[name.partition(".")[0]] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return found


def python_files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


def normal(name: str) -> str:
    """Returns a distribution's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def declared(*, dev: bool = False) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ["serve", *(["dev", "trackers"] if dev else [])]
    requirements = sum((project["optional-dependencies"][extra] for extra in extras), project["dependencies"])
    return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


@cache
def distributions() -> dict[str, set[str]]:
    return {module: {normal(name) for name in names} for module, names in packages_distributions().items()}


def third_party(*folders: str) -> dict[str, str]:
    """Returns the distributions that the files of some folders import, each with a place where it is."""
    own = {"common", "lesson"} | {file.stem for file in python_files("recipes", "benchmarks", "tests", "docs")}
    found = {}
    for module, place in imported(python_files(*folders)).items():
        if module not in own | sys.stdlib_module_names:
            found |= dict.fromkeys(distributions().get(module, {normal(module)}), place)
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_needs_no_other_recipe(recipe: Path):
    known = {"common"} | sys.stdlib_module_names
    known |= {module for module, names in distributions().items() if names & declared()}
    for file in sorted(recipe.rglob("*.py")):
        own = {path.stem for folder in {file.parent, recipe} for path in folder.iterdir()}
        unknown = {module: place for module, place in imported([file]).items() if module not in known | own}
        assert not unknown


def test_common_imports_no_recipe():
    of_recipes = {file.stem for recipe in RECIPES for file in recipe.rglob("*.py")} | {"recipes", "lesson", "benchmarks"}
    found = imported(python_files("common"))
    assert {name: found[name] for name in of_recipes & found.keys() - sys.stdlib_module_names} == {}


def test_what_is_imported_is_declared():
    used = third_party("common", "recipes")
    assert {name: place for name, place in used.items() if name not in declared()} == {}
    used = third_party("tests", "benchmarks", "docs")
    assert {name: place for name, place in used.items() if name not in declared(dev=True) | ELSEWHERE.keys()} == {}


def test_what_is_declared_is_used():
    run, developed = third_party("common", "recipes"), third_party("tests", "benchmarks", "docs")
    assert declared() - run.keys() - LOADED_BY_NAME.keys() == set()
    assert declared(dev=True) - declared() - developed.keys() - LOADED_BY_NAME.keys() == set()
    for name, (pattern, text) in (LOADED_BY_NAME | ELSEWHERE).items():
        assert any(text in file.read_text() for file in ROOT.glob(pattern)), f"{name}: no `{text}` in {pattern}"
        assert name not in run, f"{name} is imported at {run.get(name)}"


@pytest.mark.parametrize("file", python_files("benchmarks"), ids=lambda file: file.stem)
def test_what_a_benchmark_takes_from_a_recipe_is_there(file: Path):
    """The benchmarks run on other machines, and none of them runs here."""
    installed = {"common", *sys.stdlib_module_names, *distributions()}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] not in installed:
            path = Path(*node.module.split(".")).with_suffix(".py")
            defined = [
                name.id if isinstance(name, ast.Name) else name.name
                for module in [*(ROOT / "recipes").glob(f"*/{path}"), *(ROOT / "benchmarks").glob(str(path))]
                for name in ast.walk(ast.parse(module.read_text()))
                if isinstance(name, ast.Name | ast.FunctionDef | ast.ClassDef)
            ]
            assert {alias.name for alias in node.names} <= {*defined}, f"{file.name}:{node.lineno}: {node.module}"


def test_what_needs_no_model_waits_for_no_torch():
    """Its import takes some seconds: `recipes runs` is to answer at once."""
    names = ", ".join(f"common.commands.{name}" for name in ("main", "runs", "compare", "copy", "list"))
    shown = run_command([sys.executable, "-c", f"import sys, {names}; print('torch' in sys.modules)"])
    assert shown.stdout == "False\n", shown.stderr
