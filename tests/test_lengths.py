"""What is to be read at once is short: functions of at most 50 lines, modules of at most 250."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

FUNCTION, MODULE = 50, 250  # lines, docstrings included


def too_long(file: Path) -> list[str]:
    """Returns what of a file is too long, and where."""
    text = file.read_text()
    name, lines = file.relative_to(ROOT), len(text.splitlines())
    found = [f"{name} has {lines} lines, over {MODULE}: divide it by what its parts are for"] if lines > MODULE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION:
                where = f"{name}:{node.lineno}: {node.name}"
                found.append(f"{where} has {lines} lines, over {FUNCTION}: divide it by what its parts do")
    return found


@pytest.mark.parametrize("folder", ["common", "recipes", "benchmarks"])
def test_functions_and_modules_are_short(folder: str):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 20
    found = [line for file in files for line in too_long(file)]
    assert not found, "\n".join(["", *found])
