"""A recipe is a folder, its page and its tests: what each must have, and that nothing else lists their names."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import learn
from learn import holds, launch_command
from shuffled_labels import shuffled

RECIPES = sorted(script.parent.name for script in (ROOT / "recipes").glob("*/train.py"))
FILES = ["README.md", "config.yaml", "tiny.yaml", "train.py", "evaluate.py", "arguments.py", "data.py", "lesson/expected.yaml"]
SCORER = ["^REFERENCE = ", r"^def read_reference\(", r"^def score\("]
SECTIONS = [
    "Run it",
    "What you see",
    "What was learned, and what was not",
    "How it works",
    "Your data",
    "Settings",
    "Measured",
    "Evaluate",
    "What goes wrong",
    "Make it yours",
]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def missing(root: Path, name: str) -> list[str]:
    """Returns what the recipe `name` of the repository in `root` lacks."""
    recipe, lacks = root / "recipes" / name, []
    lacks += [f"recipes/{name}/{file}" for file in FILES if not (recipe / file).exists()]
    if not (recipe / "metrics.py").exists() and not (recipe / "rewards.py").exists():
        lacks.append(f"recipes/{name}/metrics.py or rewards.py, with the function that scores")
    scorer = read(recipe / "metrics.py") or read(recipe / "rewards.py")
    lacks += [f"`{part}` in what scores, for `recipes score`" for part in SCORER if not re.search(part, scorer, re.MULTILINE)]
    readme = read(recipe / "README.md")
    headings = re.findall(r"^## (.*)", readme, re.MULTILINE)
    lacks += [f"README.md: ## {section}" for section in SECTIONS if not any(line.startswith(section) for line in headings)]
    if f"recipes/{name}/train.py" not in readme.partition("\n## What you see")[0]:
        lacks.append("README.md: the launch command under `Run it`")
    for script in ("train.py", "evaluate.py"):
        launch = rf"accelerate launch --config_file accelerate_configs/\w+\.yaml recipes/{name}/{script}"
        if not re.search(launch, ast.get_docstring(ast.parse(read(recipe / script))) or ""):
            lacks.append(f"{script}: its launch command in the docstring")
    if f"](recipes/{name}/README.md)" not in read(root / "README.md"):
        lacks.append("a row in the table of the repository's README.md")
    for folder in ("tests/recipes", "tests/e2e"):
        if not any(re.search(rf'"{name}"|recipes/{name}/', file.read_text()) for file in (root / folder).glob("*.py")):
            lacks.append(f"a test in {folder}")
    if not (root / "benchmarks" / "results" / f"{name}_seeds.json").exists():
        lacks.append(f"benchmarks/results/{name}_seeds.json, by `python benchmarks/seeds.py {name}`")
    return lacks


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_all_that_a_recipe_has(name: str):
    assert missing(ROOT, name) == []


@pytest.mark.parametrize("name", RECIPES)
def test_the_script_is_as_long_as_is_said_of_it(name: str):
    page = (ROOT / "docs" / "compared.md").read_text()
    fewest, most = map(int, re.search(r"a file of (\d+) to (\d+) lines", page).groups())
    assert fewest <= len((ROOT / "recipes" / name / "train.py").read_text().splitlines()) <= most


def test_what_a_new_recipe_lacks_is_named(tmp_path: Path):
    for folder in ("tests", "benchmarks/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    seventh = tmp_path / "recipes" / "seventh"
    shutil.copytree(ROOT / "recipes" / "grpo_math", seventh, ignore=shutil.ignore_patterns("__pycache__"))
    copied = [
        "README.md: the launch command under `Run it`",
        "train.py: its launch command in the docstring",
        "evaluate.py: its launch command in the docstring",
        "a row in the table of the repository's README.md",
        "a test in tests/recipes",
        "a test in tests/e2e",
        "benchmarks/results/seventh_seeds.json, by `python benchmarks/seeds.py seventh`",
    ]
    assert missing(tmp_path, "seventh") == copied
    (seventh / "tiny.yaml").unlink()
    (seventh / "rewards.py").unlink()
    (seventh / "README.md").write_text(read(seventh / "README.md").replace("## Your data", "## The data"))
    assert missing(tmp_path, "seventh") == [
        "recipes/seventh/tiny.yaml",
        "recipes/seventh/metrics.py or rewards.py, with the function that scores",
        *(f"`{part}` in what scores, for `recipes score`" for part in SCORER),
        "README.md: ## Your data",
        *copied,
    ]


def named_in(text: str) -> set[str]:
    return {name for name in RECIPES if re.search(rf"\b{name}\b", text)}


def test_no_file_lists_the_recipes():
    """README.md does, and the test above holds it, and tables that a script writes; a benchmark may compare two."""
    code = [file for folder in ("common", "tests", "benchmarks", "docs") for file in (ROOT / folder).rglob("*.py")]
    for file in code:
        literals = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.List | ast.Dict | ast.Set)]
        assert [ast.unparse(node) for node in literals if len(named_in(ast.unparse(node))) > 2] == [], file
    texts = [ROOT / name for name in ("Makefile", "mkdocs.yml", "pyproject.toml", ".ci/run", "CONTRIBUTING.md")]
    for file in [*texts, *(ROOT / "docs").rglob("*.md"), *(ROOT / "accelerate_configs").iterdir()]:
        by_hand = re.sub(r"<!-- \w+ -->.*?<!-- end -->", "", file.read_text(), flags=re.DOTALL)
        assert len(named_in(by_hand)) <= 2, file


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_expected_is_what_was_recorded(name: str):
    """The limits of `make learn` leave room below every recorded run, and the columns of the record are those of today."""
    expected = yaml.safe_load((ROOT / "recipes" / name / "lesson" / "expected.yaml").read_text())
    record = json.loads((ROOT / "benchmarks" / "results" / f"{name}_seeds.json").read_text())
    limits = {f"{when}.{metric}": limit for when in ("before", "after") for metric, limit in expected[when].items()}
    assert any(limit.startswith("after.held_out.") for limit in limits)
    compared = 0
    for run in record["runs"]:
        assert [column for column in expected["columns"] if column not in run] == []
        for column, metric in expected["columns"].items():
            if metric in limits:
                value = float(run[column].rstrip("%")) / (100 if run[column].endswith("%") else 1)
                assert holds(value, limits[metric]), f"{column} of {run}"
                compared += 1
    assert compared >= 2 * len(record["runs"])


@pytest.mark.parametrize(("value", "limit", "good"), [(0.8, ">= 0.8", True), (0.79, ">= 0.8", False), (0.1, "< 0.1", False)])
def test_a_limit(value: float, limit: str, good: bool):
    assert holds(value, limit) is good
    assert not holds(float("nan"), limit)


@pytest.mark.parametrize("name", RECIPES)
def test_the_learning_run_is_the_readmes_command(name: str):
    words = launch_command(name)
    assert words[:3] == ["accelerate", "launch", "--config_file"]
    assert words[-1] == f"recipes/{name}/train.py"  # no other settings


def said(row: dict, role: str) -> list[str]:
    return [message["content"] for message in row["messages"] if message["role"] == role]


def test_answers_are_dealt_out_anew():
    """Every question stays, and every answer; those of a conversation of several turns stay together."""
    turns = [[{"role": role, "content": f"{role} {number}"} for role in ("user", "assistant")] for number in range(40)]
    rows = [{"messages": turns[number] * (1 + number % 2)} for number in range(40)]
    dealt = shuffled(rows)
    assert [said(row, "user") for row in dealt] == [said(row, "user") for row in rows]
    assert all(len(set(said(row, "assistant"))) == 1 for row in dealt)
    assert [len(said(row, "assistant")) for row in dealt] == [1, 2] * 20
    assert sorted(said(row, "assistant")[0] for row in dealt) == sorted(said(row, "assistant")[0] for row in rows)
    assert sum(one == other for one, other in zip(dealt, rows, strict=True)) < 8


FAKE = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--output_dir") + 1])
folder.mkdir()
rows = [(0, "held_out", 0.1), (1, "held_out", 0.6), (2, "held_out", float(sys.argv[-1]))]
rows = [{"step": step, "split": split, "metrics": {"accuracy": {"value": value}}} for step, split, value in rows]
(folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in [{"step": 0, "loss": 1.0}, *rows]))
sys.exit(float(sys.argv[-1]) < 0)
"""


def test_a_recipe_that_does_not_learn_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    recipe = tmp_path / "recipes" / "fake"
    (recipe / "lesson").mkdir(parents=True)
    (recipe / "train.py").write_text(FAKE)
    (recipe / "README.md").write_text("```bash\naccelerate launch python recipes/fake/train.py\n```\n")
    limits = 'before:\n  held_out.accuracy: "< 0.2"\nafter:\n  held_out.accuracy: ">= 0.8"\n  unseen.accuracy: ">= 0.5"\n'
    (recipe / "lesson" / "expected.yaml").write_text(limits)
    monkeypatch.setattr(learn, "ROOT", tmp_path)
    # `accelerate launch` would only pass the words on.
    monkeypatch.setattr(learn, "LAUNCHER", ["env"])

    def table(folder: str, accuracy: str, code: int) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["learn.py", "fake", "--output_dir", str(tmp_path / folder), "--flags", accuracy])
        with pytest.raises(SystemExit) as ended:
            learn.main()
        assert ended.value.code == code
        return capsys.readouterr().out.partition("|---|---|---|---|---|\n")[2].splitlines()

    assert table("poor", "0.7", code=1) == [
        "| fake | before held_out.accuracy | < 0.2 | 0.100 | holds |",
        "| fake | after held_out.accuracy | >= 0.8 | 0.700 | DOES NOT HOLD |",
        "| fake | after unseen.accuracy | >= 0.5 | nan | DOES NOT HOLD |",
    ]
    assert table("stopped", "-1", code=1) == ["| fake | exit code | 0 | 1 | DOES NOT HOLD |"]
    (recipe / "lesson" / "expected.yaml").write_text(limits.replace("unseen", "held_out"))
    assert all(row.endswith(" holds |") for row in table("good", "0.8", code=0))
