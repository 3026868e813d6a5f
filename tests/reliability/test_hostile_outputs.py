"""What a model writes is only read: every row of hostile_outputs.yaml is judged within three seconds, and nothing executed."""

import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import common.data.tokens  # noqa: F401 - what a chat imports at its first call is not counted

import pytest
from bad_inputs import HOSTILE, RECIPES, picture, rows_of
from conftest import recipe_modules

SECONDS = 3.0  # a core of its own needs less than one; here other tests share it. What backtracks needs minutes
Verdict = Callable[[str], Any]


def fill(case: dict[str, Any], folder: Path) -> str:
    """Returns what the model writes."""
    piece, count = case.get("times", ["", 0])
    inner = piece * count + case.get("closed", "") * count
    inner = "{" + inner + "}" if case.get("boxed") else inner
    return case["text"].replace("{0}", inner).replace("{tmp}", str(folder))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends what takes ten times as long, and fails if this thread works longer at all."""

    def stop(*_: Any) -> None:
        pytest.fail(f"not within {10 * seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    started = time.thread_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.thread_time() - started < seconds


def scored_by(score: Callable, rows: list[Any]) -> Verdict:
    """Returns what judges a completion of the fourth row as an evaluation does, all of the metrics computed."""
    return lambda text: score(rows[3:4], [text])[1][0]["correct"]


def judges(recipe: str, modules: dict[str, ModuleType], folder: Path) -> list[Verdict]:
    """Returns the ways in which a recipe judges a completion; the right answer is that of row 3."""
    path = folder / "data.jsonl"
    (folder / "picture.png").write_bytes(picture(60, 30))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(recipe, 6)))
    own = modules["arguments"]
    cls = next(value for name, value in vars(own).items() if name.endswith("Arguments") and name != "DataArguments")
    train, validation, held_out = modules["data"].load_data(cls(dataset_name=str(path), num_held_out=1), 0)
    rows = [*train, *validation, *held_out["held_out"]]
    rows.sort(key=lambda row: row["where"] if isinstance(row, dict) else row.where)
    if "metrics" in modules:
        return [scored_by(modules["metrics"].score, rows)]
    rewards = modules["rewards"]
    judged = [lambda text: bool(rewards.correct([[{"role": "assistant", "content": text}]], ["3"])[0])]
    if hasattr(rewards, "score"):
        judged.append(scored_by(rewards.score, rows))
    for function in (rewards.formatted, getattr(rewards, "distinct_characters", rewards.formatted)):
        judged.append(lambda text, function=function: function([[{"role": "assistant", "content": text}]]) and None)
    return judged


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    folder = Path(__file__).resolve().parent.parent.parent / "recipes" / request.param
    names = [name for name in ("arguments", "data", "metrics", "rewards", "chat") if (folder / f"{name}.py").exists()]
    with recipe_modules(request.param, names) as modules:
        yield request.param, judges(request.param, modules, tmp_path_factory.mktemp("data"))


def test_what_a_model_writes_is_only_read(recipe: tuple, tmp_path: Path):
    name, judged = recipe
    tried = [case for section in HOSTILE for case in section["cases"] if name in section["recipes"]]
    assert tried, f"no hostile outputs for {name}: add some to hostile_outputs.yaml"
    for judge in judged:  # what is loaded once, such as the models of languages, is not counted
        judge(next((fill(case, tmp_path) for case in tried if case.get("right")), "Tea, please."))
    for case in tried:
        text = fill(case, tmp_path)
        for judge in judged:
            with at_most(SECONDS):
                verdict = judge(text)
            assert verdict in (None, case.get("right", False)), (name, case["name"], verdict)
    assert not (tmp_path / "executed").exists()


def test_a_chat_runs_no_hostile_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The only place where a call is run: the demo's tools, in a chat."""
    ran = []
    with recipe_modules("trl_function_calling", ["chat", "tools"]) as modules:
        chat, tools = modules["chat"], modules["tools"]
        monkeypatch.setitem(chat.KNOWN, "set_timer", lambda **arguments: ran.append(arguments) or {})
        offered = [tools.schema(tools.set_timer)]
        for case in next(section for section in HOSTILE if "trl_function_calling" in section["recipes"])["cases"]:
            text = fill(case, tmp_path)
            monkeypatch.setattr(chat, "answer", lambda *_, text=text: text)
            printed = io.StringIO()
            with at_most(SECONDS), redirect_stdout(printed):
                chat.reply(None, None, [{"role": "user", "content": "Tea."}], offered)
            is_run = bool(ran)
            ran.clear()
            harmless = case.get("right") or case["name"] in ("a number of 4000 digits", "ten thousand calls")
            assert is_run <= bool(harmless), case["name"]
            assert len(printed.getvalue()) < 10_000_000
    assert not (tmp_path / "executed").exists()
