"""Whatever stands in a file, it is read whole or refused in one line that says where: never a traceback, never fewer rows.

Hypothesis draws the inputs, the same ones each time.
"""

import contextlib
import copy
import dataclasses
import gzip
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.data.rows import read_splits
from common.data.tokens import tokenize
from common.models.load import load_tokenizer
from common.run.config import parse

import pytest
from bad_inputs import RECIPES, ROOT, TABLE, picture, rows_of, write_rows
from conftest import recipe_modules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trl import ModelConfig, SFTConfig


def tried(max_examples: int) -> Callable:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=max_examples, derandomize=True, deadline=None, database=None, suppress_health_check=checks)


def outcome(function: Callable[[], Any], *names: str) -> Any:
    """Returns what a function returns, or None if it is refused: in one line that names a place, with exit code 2."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
        try:
            return function()
        except SystemExit as error:
            code = error.code
    line = printed.getvalue()
    assert code == 2
    assert line.startswith("error: "), line
    assert line.count("\n") == 1, line
    assert any(name in line for name in names), line
    return None


# --- Rows -----------------------------------------------------------------------------------------------------------------

WORDS = [
    "user",
    "assistant",
    "system",
    "tool",
    "image",
    "text",
    "French",
    "<tool_call>{",
    "[",
    "{}",
    "#### 4",
    "reasoning language: X",
]
TEXTS = st.sampled_from(WORDS) | st.text(st.characters(), max_size=5)  # with halves of characters
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MORE_KEYS = [
    "conversations",
    "ground_truth",
    "fields",
    "images",
    "thinking_language",
    "question_language",
    "total",
    "drawn",
    "where",
]


def paths(value: Any) -> list[tuple]:
    """Returns the way to each value in a row."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [(), *((key, *path) for key, item in items for path in paths(item))]


@st.composite
def odd_rows(draw: Callable, row: dict[str, Any]) -> Any:
    """Draws a row of which a value is another one, is missing or is added; or any value."""
    row = copy.deepcopy(row)
    path = draw(st.sampled_from([*paths(row), *[(key,) for key in MORE_KEYS]]))
    if not path:
        return draw(VALUES)
    place = row
    for key in path[:-1]:
        place = place[key]
    if draw(st.booleans()) or path[-1] in MORE_KEYS:
        place[path[-1]] = draw(VALUES)
    else:
        del place[path[-1]]
    return row


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict]]:
    names = ["arguments", "data", "rewards" if request.param == "grpo_math" else "metrics"]
    with recipe_modules(request.param, names[: 2 if request.param == "multi_agent_grpo" else 3]) as modules:
        yield request.param, modules


def test_any_row(recipe: tuple[str, dict], tmp_path: Path):
    """Rows that are read can also be tokenised, and be what a completion is scored by."""
    name, modules = recipe
    data, arguments = modules["data"], modules["arguments"]
    cls = next(cls for cls in vars(arguments).values() if dataclasses.is_dataclass(cls) and cls.__module__ == "arguments")
    path = tmp_path / "data.jsonl"
    (tmp_path / "picture.png").write_bytes(picture(60, 30))
    tokenizer = None
    if "messages" in TABLE["rows"][name]:
        tokenizer = load_tokenizer(ModelConfig(model_name_or_path=str(ROOT / "recipes/trl_function_calling/lesson/tiny_base")))
    good, read = rows_of(name, 4), []

    @tried(80)
    @given(odd_rows(good[3]))
    def check(row: Any) -> None:
        path.write_text("".join(json.dumps(each) + "\n" for each in [*good[:3], row]))
        found = outcome(lambda: data.load_data(cls(dataset_name=str(path), num_held_out=1), 0), "data.jsonl, line 4: ")
        read.append(found is not None)
        if found is None:
            return
        train, validation, held_out = found
        rows = [*train, *validation, *(row for part in held_out.values() for row in part)]
        assert len(rows) == 4
        if tokenizer is not None:
            outcome(lambda: tokenize(rows, tokenizer, 10_000, where="data"), "data.jsonl, line 4: ")
        if "metrics" in modules:
            modules["metrics"].score(rows, ['<tool_call>{"name": "set_timer", "arguments": {"seconds": 1}}</tool_call>'] * 4)

    check()
    assert True in read
    assert False in read


# --- yaml -----------------------------------------------------------------------------------------------------------------

PIECES = [
    *("seed", "learning_rate", "system_prompt", "lora_target_modules", "lr_scheduler_kwargs", "agents", "name", "prompt"),
    *(
        ": ",
        ":",
        "\n",
        "\n  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "!!python/name:os.system ",
        "!!binary ",
        "\t",
        "|\n",
    ),
    *("'", '"', "#", "---\n", "? ", "1", "1e5", "2024-01-40", ".nan", "null", "\\ud800", "<<", "\0", "\ufeff"),
]
YAML = st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(str.encode) | st.binary(max_size=12)


def test_any_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with recipe_modules("sft_instruct", ["arguments"]) as modules:
        arguments = modules["arguments"].InstructArguments

        @tried(40)
        @given(YAML)
        def check(content: bytes) -> None:
            (tmp_path / "my.yaml").write_bytes(content)
            script, argv = str(ROOT / "recipes/sft_instruct/train.py"), ["--config", str(tmp_path / "my.yaml")]
            outcome(
                lambda: parse(script, arguments, SFTConfig, argv), "my.yaml", *arguments.__dataclass_fields__, "seed", "lora"
            )

        check()


def test_any_team(tmp_path: Path):
    with recipe_modules("multi_agent_grpo", ["agents"]) as modules:
        load_team = modules["agents"].load_team

        @tried(100)
        @given(YAML)
        def check(content: bytes) -> None:
            (tmp_path / "agents.yaml").write_bytes(content)
            outcome(lambda: load_team(str(tmp_path / "agents.yaml")), "agents.yaml")

        check()


# --- Files cut short ------------------------------------------------------------------------------------------------------

ROWS = [{"question": f"What is {number} + 1?", "answer": f"It is, of course, {number + 1}."} for number in range(8)]
SUFFIXES = {".jsonl": 60, ".json": 40, ".csv": 60, ".jsonl.gz": 40, ".parquet": 12}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_anywhere(tmp_path: Path, suffix: str):
    """Where a row ends nobody can see that there were more; anywhere else it is seen."""
    rows = [{key: value.replace(",", "") for key, value in row.items()} for row in ROWS]
    whole, count = write_rows(f"data{suffix}", rows), 0
    whole = gzip.compress(whole) if suffix.endswith(".gz") else whole

    @tried(SUFFIXES[suffix])
    @given(st.integers(0, len(whole)))
    def check(length: int) -> None:
        nonlocal count
        path, count = tmp_path / f"{count}{suffix}", count + 1
        path.write_bytes(whole[:length])
        splits = outcome(lambda: read_splits(str(path)), path.name)
        if splits is None:
            assert length < len(whole)
            return
        found = [row for _, row in splits["train"]]
        if suffix == ".csv":  # the last text may lack its end
            assert found[:-1] == rows[: len(found) - 1]
            assert all(rows[len(found) - 1][key].startswith(value) for key, value in found[-1].items())
            assert len(found) == math.ceil(whole[:length].count(b"\n") + (whole[length - 1 : length] != b"\n")) - 1
        else:
            assert found == rows[: len(found)]
            assert len(found) == (whole[:length].rstrip().count(b"\n") + 1 if suffix == ".jsonl" else len(rows))

    check()
