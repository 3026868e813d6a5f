"""`recipes prepare`: what a run would train on, as text and as JSON, without a model and without a trainer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Python
from forks import BIN

sys.path.insert(0, str(ROOT / "tests" / "reliability"))
from bad_inputs import picture, rows_of

SHARED = ROOT.parent / "shared"
ON_TEXT = sorted({script.parent.name for script in (ROOT / "recipes").glob("*/prepare.py")} - {"ocr_vision_language"})


def write(path: Path, recipe: str, count: int) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(recipe, count)))
    return str(path)


def learned(recipe: str) -> list[str]:
    """Returns a piece of each turn that is trained of the first row; of problems nothing is, the model writes itself."""
    (row,) = rows_of(recipe, 1)
    if "messages" not in row:
        return [] if "####" in row["answer"] else [row["answer"]]
    said = [message for message in row["messages"] if message["role"] == "assistant"]
    return [message.get("content") or message["tool_calls"][0]["function"]["name"] for message in said]


def prepare(python: Python, recipe: str, *flags: str, code: int = 0):
    return python(BIN / "recipes", "prepare", recipe, *flags, code=code)


@pytest.mark.parametrize("recipe", ON_TEXT)
def test_json(python: Python, tmp_path: Path, recipe: str):
    path = write(tmp_path / "my.jsonl", recipe, 40)
    found = json.loads(prepare(python, recipe, "--dataset_name", path, "--json", "--show", "2").stdout)
    assert list(found) == ["rows", "left_out", "splits", "first"]
    assert (found["rows"], found["left_out"], len(found["first"])) == (40, [], 2)
    assert list(found["splits"])[:3] == ["train", "validation", "held_out"]
    assert found["splits"]["train"] > 20
    first = found["first"][0]  # of the file, whatever part it is in
    assert list(first) == ["prompt", "trained", "not_trained"]
    assert len(first["trained"]) == len(learned(recipe))
    assert all(text in part for text, part in zip(learned(recipe), first["trained"], strict=True))
    assert first["prompt"].startswith(first["not_trained"][0])
    assert "0" in first["prompt"]


def test_text(python: Python, tmp_path: Path):
    path = write(tmp_path / "my.jsonl", "sft_instruct", 40)
    with open(path, "a") as file:
        file.write('{"question": "a"}\n' + json.dumps({"question": "Long?", "answer": "word " * 300}) + "\n")
    flags = ["--dataset_name", path, "--skip_bad_rows", "true", "--show", "1"]
    flags += ["--dtype", "bfloat16"]  # a training needs DeepSpeed for it: how it will be launched is not known here
    said = prepare(python, "sft_instruct", *flags).stdout
    assert f"{path}: 41 rows of questions and answers (question, answer). The first: user: What is 0 + 1? | assistant:" in said
    assert f"Left out 1 of 42 rows of {path} (train). The first: {path}, line 41: no `answer`" in said
    assert "Tokens of a conversation (at most" in said
    assert "longer       1" in said
    assert "»0 and one.<|eot_id|>«" in said
    found = json.loads(prepare(python, "sft_instruct", *flags, "--json").stdout)
    assert [row["where"] for row in found["left_out"]] == [f"{path}, line 41", f"{path}, line 42"]
    # As a run would, it ends at the first bad row without the flag.
    ended = prepare(python, "sft_instruct", "--dataset_name", path, "--json", code=2)
    assert ended.stderr.startswith(f"error: {path}, line 41: no `answer` (found: question); write")
    assert ended.stdout == ""


def test_pictures(python: Python, tmp_path: Path):
    rows = [{"image": f"{number}.png", "text": f"line {number}"} for number in range(30)]
    for row in rows:
        (tmp_path / row["image"]).write_bytes(picture(96, 32))
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"image": "none.png", "text": "a"}]))
    flags = ["--dataset_name", str(tmp_path / "my.jsonl"), "--skip_bad_rows", "true"]
    found = json.loads(prepare(python, "ocr_vision_language", *flags, "--show", "1", "--json").stdout)
    assert (found["rows"], sum(found["splits"].values())) == (30, 30)
    assert [row["where"] for row in found["left_out"]] == [f"{tmp_path}/my.jsonl, line 31"]
    assert [row["trained"] for row in found["first"]] == [["line 0<|im_end|>"]]
    assert "<|image_pad|>" in found["first"][0]["prompt"]
    said = prepare(python, "ocr_vision_language", *flags, "--max_length", "16", code=2)
    assert "longer      30" in said.stdout
    assert "my.jsonl has no row that can be used" in said.stderr
    assert "and max_length is 16" in said.stderr


def test_too_few_rows_to_train_can_be_looked_at(python: Python, tmp_path: Path):
    for count in (1, 2):
        path = write(tmp_path / "my.jsonl", "sft_instruct", count)
        found = json.loads(prepare(python, "sft_instruct", "--dataset_name", path, "--json").stdout)
        assert (found["rows"], found["splits"]) == (count, {"train": count, "validation": 0, "held_out": 0})
    assert "No run could start: it takes at least 3 rows" in prepare(python, "sft_instruct", "--dataset_name", path).stdout


def test_the_lesson_and_what_is_no_recipe(python: Python, tmp_path: Path):
    said = prepare(python, "grpo_math", "--show", "1").stdout
    assert ": 4000 train, " in said
    assert "\nRow 1:\n<|im_start|>user\n" in said  # nothing of it is trained, so no mark is announced
    assert "«" not in said
    assert prepare(python, "grpo_mth", code=2).stderr.startswith(
        "error: there is no recipe `grpo_mth`; did you mean `grpo_math`?"
    )
    (tmp_path / "train.py").touch()
    assert "has no prepare.py" in prepare(python, str(tmp_path), code=2).stderr
    assert (
        prepare(python, "grpo_math", "--show", "x", code=2).stderr
        == "error: --show x: not a number of rows; for example `--show 3`\n"
    )


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs the data in {SHARED}")
def test_a_real_file(python: Python):
    """Every row of a file of another project is read, and its answer is what is trained."""
    path = SHARED / "data" / "llamafactory" / "alpaca_en_demo.json"
    flags = ["--dataset_name", str(path), "--max_length", "2048", "--json", "--show", "50"]
    found = json.loads(prepare(python, "sft_instruct", *flags).stdout)
    assert (found["rows"], found["left_out"], sum(found["splits"].values())) == (999, [], 999)
    outputs = [row["output"] for row in json.loads(path.read_text())[:50]]
    assert all(output.strip() in row["trained"][0] for output, row in zip(outputs, found["first"], strict=True))


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs the data in {SHARED}")
def test_a_conversation_of_several_turns_is_counted_once(python: Python):
    path = SHARED / "data" / "llamafactory" / "glaive_toolcall_en_demo.json"
    said = prepare(python, "trl_function_calling", "--dataset_name", str(path), "--max_length", "16000", "--json").stdout
    found = json.loads(said)
    assert (found["rows"], found["left_out"], sum(found["splits"].values())) == (300, [], 300)


def test_no_trainer_and_no_model_is_imported():
    later = "data, evaluate, common.data.tokens, common.models.load"  # what `prepare` imports when it is called
    code = f"import sys; sys.path.insert(0, 'recipes/sft_instruct'); import prepare, {later}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(ran.stdout.split())
    assert "common.data.tokens" in imported
    assert not [name for name in imported if name.endswith(("sft_trainer", "modeling_llama")) or name == "deepspeed"]
