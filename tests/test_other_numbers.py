"""Problems with other numbers are still problems, with their answer; what is unclear is left out."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from other_numbers import calculations_of, with_other_numbers

GSM8K = ROOT.parent / "shared" / "data" / "gsm8k" / "train.jsonl"
PENS = {
    "question": "Ada has 6 jars with 17 pens in each, and gives away 40 pens, 10% of them red. How many are left?",
    "answer": "The jars hold 6x17=<<6*17=102>>102 pens.\nShe has 102 - 40 = <<102-40=62>>62 pens left.\n#### 62",
}


def test_the_story_stays_and_the_answer_follows():
    found = {with_other_numbers(PENS, random.Random(seed))["answer"] for seed in range(20)}
    assert len(found) > 10
    row = with_other_numbers(PENS, random.Random(1))
    (first, product), (second, left) = calculations_of(row["answer"])  # which computes them
    jars, pens = first.split("*")
    given = second.split("-")[1]
    assert row["question"] == (
        f"Ada has {jars} jars with {pens} pens in each, and gives away {given} pens, 10% of them red. How many are left?"
    )
    assert row["answer"] == (
        f"The jars hold {jars}x{pens}=<<{first}={product}>>{product} pens.\n"
        f"She has {product} - {given} = <<{second}={left}>>{left} pens left.\n#### {left}"
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Ada has 6 pens and 6 jars.", "<<6+6=12>>12\n#### 12"),  # which six is which?
        ("Ada has 1/2 of 80 pens.", "<<80/2=40>>40\n#### 40"),
        ("It is 3:30, and 40 minutes later", "<<30+40=70>>70\n#### 70"),
        ("Ada has 6 pens, and Ben has six more.", "<<6+6=12>>12\n#### 12"),
        ("A tenth of 80 pens, and 10 more", "<<80*1/10=8>>8\n<<8+10=18>>18\n#### 18"),
        ("Ada cuts 7 pens in 3.", "<<7/3=2.33>>2.33\n#### 2.33"),  # rounded
        ("Ada has 7 pens, and 8 more.", "7 and 8 are 15\n#### 15"),  # no calculation
        ("Ada has 7 pens, and 8 more.", "<<7+8=15>>15\n#### 16"),
        ("Ada has seven pens, and eight more.", "<<7+8=15>>15\n#### 15"),
        ("Ada has 7 pens, and 8 more.", "<<7+x=15>>15\n#### 15"),
    ],
)
def test_what_is_unclear_is_left_out(question: str, answer: str):
    assert with_other_numbers({"question": question, "answer": answer}, random.Random(0)) is None


@pytest.mark.skipif(not GSM8K.exists(), reason=f"needs {GSM8K}")
def test_the_command_leaves_the_problems_and_adds_others(tmp_path: Path):
    problems, target = tmp_path / "train.jsonl", tmp_path / "more.jsonl"
    problems.write_text("".join(GSM8K.read_text().splitlines(keepends=True)[:100]))
    command = [sys.executable, "benchmarks/other_numbers.py", str(problems), str(target), "--versions", "2"]
    subprocess.run(command, cwd=ROOT, check=True)
    lines = target.read_text().splitlines()
    assert lines[:100] == [json.dumps(json.loads(line), ensure_ascii=False) for line in problems.read_text().splitlines()]
    assert len(lines) > 180
    for row in map(json.loads, lines[100:]):
        calculations_of(row["answer"])  # fails if one does not hold, or the last one is not the answer
    assert subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 1  # the file is not overwritten
