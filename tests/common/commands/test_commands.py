"""The command `recipes`: what it lists, copies, passes on and refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

from common.commands import places

import pytest
from conftest import ROOT, command_env
from recorded_runs import Recipes, command_of, make_record

GRPO_MATH = ROOT / "recipes" / "grpo_math"


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipes:
    """Returns a function that runs the command in the repository's root: exit code, output, errors."""
    monkeypatch.chdir(ROOT)
    return command_of(capsys)


@pytest.fixture
def own_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recipes in which a test may write."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    monkeypatch.setattr(places, "RECIPES", folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- list ---------------------------------------------------------------------------------------------------------------


def test_list_is_an_installed_command_that_imports_no_model_library():
    env = command_env(PYTHONPROFILEIMPORTTIME="1")  # writes each import on standard error
    listed = subprocess.run(["recipes", "list"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    line = next(line for line in listed.stdout.splitlines() if line.startswith("grpo_math "))
    assert line.split(maxsplit=2) == [
        "grpo_math",
        "Qwen/Qwen2.5-1.5B-Instruct",
        "GRPO on grade-school math: a model learns from the reward alone that thinking pays.",
    ]
    imported = {line.rpartition("|")[2].strip() for line in listed.stderr.splitlines()}
    assert "common.commands.main" in imported
    assert imported.isdisjoint({"transformers", "trl", "peft", "deepspeed"})


def test_list_shows_a_recipe_in_the_making_too(recipes, own_recipes: Path):
    for name, script in {"broken": "def main(:\n", "silent": "raise RuntimeError\n", "no_recipe": None}.items():
        (own_recipes / name).mkdir()
        if script:
            (own_recipes / name / "train.py").write_text(script)
    code, out, _ = recipes("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["broken", "silent"]
    assert "train.py, line 1" in out


# --- copy ---------------------------------------------------------------------------------------------------------------


def test_copy_takes_what_git_would_carry(recipes, own_recipes: Path):
    first, mine = own_recipes / "first", own_recipes.parent / "elsewhere" / "mine"
    code, out, _ = recipes("copy", str(GRPO_MATH), "first")
    assert code == 0
    launch = out.splitlines()[-1]
    assert launch == f"accelerate launch --config_file accelerate_configs/zero3.yaml {first / 'train.py'}"
    carried = {name: text for name, text in files(GRPO_MATH).items() if "__pycache__" not in name}
    assert "lesson/tiny_base/model.safetensors" in carried
    assert files(first) == carried

    for left_out in ("__pycache__/train.pyc", "outputs/run/model.safetensors"):
        (first / left_out).parent.mkdir(parents=True)
        (first / left_out).touch()
    assert recipes("copy", "first", str(mine))[0] == 0
    assert files(mine) == carried


def test_copy_shows_the_launch_of_the_recipe(recipes, own_recipes: Path):
    launch = recipes("copy", str(GRPO_MATH.parent / "sft_instruct"), "mine")[1].splitlines()[-1]
    assert launch == f"accelerate launch --config_file accelerate_configs/zero2.yaml {own_recipes / 'mine' / 'train.py'}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("copy grpo_mat mine", "there is no recipe `grpo_mat`; did you mean `grpo_math`?"),
        ("copy {tmp} mine", "there is no recipe `{tmp}`; there is: "),
        ("copy grpo_math grpo_math", "recipes/grpo_math is there already; choose another name"),
        ("copy grpo_math {tmp}", "{tmp} is there already; choose another name"),
        ("copy grpo_math {tmp}/file/mine", "recipes/grpo_math cannot be copied to {tmp}/file/mine: "),
        ("copy grpo_math ../..", "`../..` is not a name for a recipe; use letters, digits, `_`, `-` and `.`, for example"),
        ("copy grpo_math --mine", "No such option: --mine; `recipes copy --help` says what it takes"),
        ("copy grpo_math -- -mine", "`-mine` is not a name for a recipe; use letters, digits, `_`, `-` and `.`, for example"),
        ("copy grpo_math recipes/grpo_math/mine", "recipes/grpo_math/mine is inside recipes/grpo_math, which is copied"),
        ("copy grpo_math", "Missing argument 'NEW'; `recipes copy --help` says what it takes"),
        ("cpy grpo_math mine", "No such command 'cpy'. Did you mean 'copy'?"),
    ],
)
def test_mistakes_end_in_a_line_and_write_nothing(recipes, tmp_path: Path, arguments: str, line: str):
    (tmp_path / "file").touch()
    before = files(GRPO_MATH)
    code, out, error = recipes(*arguments.format(tmp=tmp_path).split())
    assert code == 2
    assert out == ""
    assert error.startswith(f"error: {line.format(tmp=tmp_path)}")
    assert error.count("\n") == 1
    assert files(tmp_path) == {"file": b""}
    assert files(GRPO_MATH) == before
    assert not (ROOT / "recipes" / "mine").exists()


def make_chat(recipe: Path) -> Path:
    """Makes a recipe that holds a chat of its own."""
    recipe.mkdir(parents=True)
    (recipe / "train.py").touch()
    (recipe / "chat.py").write_text("import sys\nfrom sibling import NAME\nprint(NAME, sys.argv)\n")
    (recipe / "sibling.py").write_text("NAME = 'own chat'\n")
    return recipe


def test_chat_is_the_recipes_own_where_it_has_one(recipes, own_recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe, run = make_chat(own_recipes / "mine"), make_record(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["recipes"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, _ = recipes("chat", str(run), "--tools", "a b", "--help")
    sys.modules.pop("sibling")
    assert code == 0
    assert out == f"own chat {[str(recipe / 'chat.py'), str(run), '--tools', 'a b', '--help']}\n"


@pytest.mark.parametrize("flag", ["model_name_or_path", "run_dir"])
def test_eval_is_the_recipes_evaluate(recipes, own_recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str):
    recipe, run = make_chat(own_recipes / "mine"), make_record(tmp_path / "run")
    line = f"mine has no evaluate.py; its report is {run}/report.html\n"
    code, out, error = recipes("eval", str(run))
    assert (code, out) == (2, "")
    assert error.endswith(line)
    asked = 'parse(__file__, run_flag="run_dir")' if flag == "run_dir" else "parse(__file__)"
    (recipe / "evaluate.py").write_text(f"def parse(*_, **__): ...\nimport sys\n{asked}\nprint(sys.argv)\n")
    monkeypatch.setattr(sys, "argv", ["recipes"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, _ = recipes("eval", str(run), "--num_samples", "8", "--help")
    assert code == 0
    assert out == f"{[str(recipe / 'evaluate.py'), f'--{flag}', str(run), '--num_samples', '8', '--help']}\n"


@pytest.mark.parametrize(
    "named",
    [
        "{elsewhere}",
        "../elsewhere/mine",
        "mine/../../elsewhere/mine",
        "mine/",
        "./mine",
        "link/mine",
        "..",
        ".",
        "",
        "*",
        "\x1b[2Jmine",
        "mine\0",
    ],
)
def test_a_record_starts_no_script_from_elsewhere(recipes, own_recipes: Path, tmp_path: Path, named: str):
    elsewhere = make_chat(tmp_path / "elsewhere" / "mine")
    make_chat(own_recipes / "mine")
    (own_recipes / "link").symlink_to(elsewhere.parent)
    shutil.copytree(elsewhere, tmp_path / "run")
    run = make_record(tmp_path / "run", recipe=named.format(elsewhere=elsewhere), folder=str(elsewhere), script=str(elsewhere))
    for command in ("chat", "export"):
        code, out, error = recipes(command, str(run))
        assert (code, error) == (2, f"error: {run} is not complete; the command that started the run continues it\n")
        assert "own chat" not in out
        assert "\x1b" not in out
    (elsewhere / "evaluate.py").write_text("print('own evaluation')")
    code, out, error = recipes("eval", str(run))
    assert (code, out) == (2, "")
    assert error.startswith("error: there is no recipe ")
    assert "\x1b" not in error
    assert "sibling" not in sys.modules


@pytest.mark.parametrize("named", [None, 3, ["mine"], {"mine": "mine"}])
def test_a_record_that_names_no_recipe_is_refused(recipes, own_recipes: Path, tmp_path: Path, named: object):
    make_chat(own_recipes / "mine")
    run = make_record(tmp_path / "run", recipe=named)
    for command in ("chat", "export"):
        error = f"error: {run}/run.json is damaged, or not of these recipes; pass the --output_dir of another run\n"
        assert recipes(command, str(run)) == (2, "", error)


def test_mistakes_in_the_options_of_the_chat(recipes, own_recipes: Path, tmp_path: Path):
    make_record(tmp_path)
    (own_recipes / "mine").mkdir()
    (own_recipes / "mine" / "train.py").touch()
    for options, line in {
        "--temperature -1": "--temperature is -1; use 0 for the likeliest token, or a number above 0",
        "--max_new_tokens 0": "--max_new_tokens is 0; use at least 1",
        "--temprature 1": "unrecognized arguments: --temprature 1; `recipes chat RUN --help` lists the options",
    }.items():
        assert recipes("chat", str(tmp_path), *options.split()) == (2, "", f"error: {line}\n")
