"""`recipes compare`: runs side by side, and the difference on the same problems."""

import json
from pathlib import Path

import pytest
from recorded_runs import Recipes, command_of, make_run, measure


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipes:
    """Returns a function that runs the command in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    return command_of(capsys)


# --- compare --------------------------------------------------------------------------------------------------------------


def against_first(recipes: Recipes, *runs: str) -> dict | None:
    """Returns how the last run does against the first one on the problems that are held out."""
    code, out, error = recipes("compare", *runs, "--json")
    assert (code, error) == (0, "")
    return json.loads(out)["against_first"][-1]["pairs"]["held_out"]


def test_runs_are_held_against_the_first(recipes: Recipes):
    measure(make_run("a", learning_rate=1e-5), "11110000", kept=4)
    measure(make_run("b", learning_rate=3e-5, beta=0.1), "01110011", kept=4)
    rows = Path("b/metrics.jsonl")
    rows.write_text(rows.read_text().replace('"high": 1.0', '"high": 1.0, "count": 6'))  # of a part of the set
    code, out, error = recipes("compare", "a", "b")
    assert (code, error) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:3] == [
        "setting that differs a b",
        "learning_rate 1e-05 3e-05",
        "1 more that not all of them have (--json lists them)",
    ]
    assert "held_out, step 4 4" in lines
    assert "held_out, accuracy 50.0% [0.0%, 100.0%] 62.5% [0.0%, 100.0%] on 6" in lines
    (line,) = [line for line in lines if line.startswith("b against a, held_out: +12.5 points [")]
    assert line.endswith("] on the same 8 problems (2 that it alone gets right, 1 that it alone gets wrong)")
    # The same problem side by side, without what a terminal would obey.
    assert lines[lines.index(line) + 1 :] == ["Question 0? (0)", "right a: a says [31m0", "wrong b: b says [31mno"]
    assert "\x1b" not in out

    pair = against_first(recipes, "a", "b")
    assert (pair["problems"], pair["all"], pair["only_first_right"], pair["only_other_right"]) == (8, True, 1, 2)
    assert pair["difference"]["value"] == 0.125
    assert -0.5 < pair["difference"]["low"] < 0.125 < pair["difference"]["high"] < 0.75  # narrower than the shares' own
    assert [example["right"] for example in pair["examples"]] == ["a"]
    settings = json.loads(recipes("compare", "a", "b", "--json")[1])["settings"]
    assert settings == {"learning_rate": [1e-5, 3e-5], "beta": [None, 0.1]}


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"test_dataset_name": "other.jsonl"}, {}),  # the first problems may be the same by chance
        ({}, {"recorded": False}),
        ({}, {"kept": 3}),
    ],
)
def test_problems_that_may_be_others_do_not_count(recipes: Recipes, settings: dict, measured: dict):
    measure(make_run("a"), "11110000", kept=4)
    measure(make_run("b", **settings), "01110011", **{"kept": 4} | measured)
    pair = against_first(recipes, "a", "b")
    assert (pair["problems"], pair["all"], pair["only_first_right"]) == (measured.get("kept", 4), False, 1)
    out = recipes("compare", "a", "b")[1]
    assert "problems that both kept" in out
    note = "\nb against a, held_out: other problems may be held out: settings or files that choose them differ.\n"
    assert (note in out) == bool(settings)


def test_held_out_sets_that_differ_are_named(recipes: Recipes):
    measure(make_run("a"), "11110000")
    measure(make_run("b", num_held_out=4), "1111", kept=4)
    line = "b against a, held_out: the held-out problems, what is asked or what is right differ, so the metrics do not compare."
    assert f"\n{line}\n" in recipes("compare", "a", "b", "--html", "page.html")[1]
    assert line in Path("page.html").read_text(encoding="utf-8")


def test_what_is_measured_otherwise_is_not_compared(recipes: Recipes):
    measure(make_run("a"), "11110000")
    measure(make_run("b", recipe="sft_instruct"), "11110000", metric="exact_match")
    assert against_first(recipes, "a", "b") is None
    out = recipes("compare", "a", "b")[1]
    assert "\nb against a, held_out: no problem in common that both measure alike\n" in out
    line = "the first metrics differ (accuracy and exact_match), and with them what counts as right."
    assert f"\nb against a, held_out: {line}\n" in out


def test_examples_are_three_at_most_and_of_the_last_evaluation(recipes: Recipes):
    measure(make_run("a"), "11111000")
    measure(make_run("b"), "00000000")
    measure(make_run("c"), "11111000")
    code, out, _ = recipes("compare", "a", "b", "c")
    assert code == 0
    assert out.startswith("No setting differs.\n")
    assert out.count("  Question ") == 3
    assert "c against a, held_out: +0.0 points" in out
    (b, c) = json.loads(recipes("compare", "a", "b", "c/checkpoint-4", "--json")[1])["against_first"]
    assert (b["folder"], c["folder"]) == ("b", "c")
    assert b["pairs"]["held_out"]["difference"]["value"] == -0.625
    assert c["pairs"]["held_out"]["examples"] == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "Missing argument 'RUN'; `recipes compare --help` says what it takes"),
        ("a", "pass two runs or more: `recipes compare RUN RUN`; `recipes runs` lists them"),
        ("a a", "a run stands there twice; pass runs that differ (`recipes runs` lists them)"),
        ("a nowhere", "nowhere is not a run of these recipes (there is no nowhere/run.json); pass the --output_dir of a run"),
        ("a new", "new has not been measured yet; compare it once its first evaluation is done"),
    ],
)
def test_mistakes_end_in_a_line(recipes: Recipes, arguments: str, line: str):
    measure(make_run("a"), "11110000")
    make_run("new")
    assert recipes("compare", *arguments.split()) == (2, "", f"error: {line}\n")


# --- compare --html -------------------------------------------------------------------------------------------------------


def test_a_page_shows_runs_side_by_side(recipes: Recipes):
    measure(make_run("a", learning_rate=1e-5), "11110000")
    measure(make_run("b", learning_rate=3e-5), "01110011")
    code, out, error = recipes("compare", "a", "b", "--html", "page.html")
    assert (code, error) == (0, "")
    assert out.endswith("\nThe page is page.html\n")
    page = Path("page.html").read_text(encoding="utf-8")
    assert '<th scope="row">learning_rate</th><td>1e-05</td><td>3e-05</td>' in page
    assert '<th scope="row">b, held out</th><td>+12.5 points [' in page
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["problems"]["columns"] == ["a", "b"]
    assert [[answer["correct"] for answer in problem["answers"]] for problem in data["problems"]["problems"][:2]] == [
        [True, False],
        [True, True],
    ]
    assert data["filters"]["mended"] == "only b right"
    (curve,) = data["curves"]
    assert [(series["label"], series["points"][-1][:2]) for series in curve["series"]] == [("a", [4, 0.5]), ("b", [4, 0.625])]
    # With --json nothing else is printed; what is there is not written over.
    json.loads(recipes("compare", "a", "b", "--html", "other.html", "--json")[1])
    assert Path("other.html").exists()
    line = "error: --html page.html is there already; choose another name\n"
    assert recipes("compare", "a", "b", "--html", "page.html") == (2, "", line)
    assert recipes("compare", "a", "b", "--html", "no/page.html")[2].startswith(
        "error: --html no/page.html: there is no folder"
    )
