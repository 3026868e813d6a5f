"""trl_function_calling with a pretrained model whose own chat template shows no tools: the one of `make real-model`."""

import json
import random
import re
from pathlib import Path

import pytest
from conftest import ROOT, Python, recipe_modules
from transformers import AutoTokenizer

MODEL = ROOT / "pretrained" / "SmolLM2-135M-Instruct"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MODEL.exists(), reason="needs the model that `make real-model` fetches"),
]
TRAIN, EVALUATE = "recipes/trl_function_calling/train.py", "recipes/trl_function_calling/evaluate.py"
CHAT = [("Name a colour.", "Blue."), ("Who wrote Hamlet?", "William Shakespeare."), ("Is 7 a prime?", "Yes, it is.")]


def test_it_begins_to_learn_calls(tmp_path: Path, python: Python):
    """Two steps with real.yaml: the prompts are those of pretraining, the calls are trained, the template is kept."""
    with recipe_modules("trl_function_calling", ["lesson.many_tools"]) as modules:
        rows = [modules["many_tools"].draw_conversation(random.Random(seed)) for seed in range(40)]
    chat = [{"question": f"{question} ({number})", "answer": answer} for number in range(4) for question, answer in CHAT]
    for name, written in (("many_tools.jsonl", rows), ("chat.jsonl", chat)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in written))
    data = ["--dataset_name", str(tmp_path / "many_tools.jsonl"), "--chat_dataset_name", str(tmp_path / "chat.jsonl")]
    flags = "--config real.yaml --dtype float32 --bf16 false --packing false --max_steps 2 --num_train 8 --num_held_out 2"
    flags += " --per_device_train_batch_size 2 --max_new_tokens 2 --learning_rate 1e-4 --warmup_steps 0"
    run = tmp_path / "run"
    printed = python(TRAIN, *flags.split(), *data, "--output_dir", str(run)).stdout
    (trained,) = re.findall(r"assistant\n»([^»«]+)«", printed)
    assert trained.endswith("<|im_end|>")
    assert "You may call these functions:" in printed
    measured = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in measured if "loss" in row]
    assert 0.05 < losses[1] < losses[0] < 3
    plain_chat = [row["metrics"]["loss"]["value"] for row in measured if row.get("split") == "plain_chat"]
    assert 0.1 < plain_chat[0] < 3

    template = AutoTokenizer.from_pretrained(run).chat_template
    assert template == (ROOT / "recipes" / "trl_function_calling" / "chatml_tools.jinja").read_text()
    evaluated = python(EVALUATE, "--model_name_or_path", str(run)).stdout
    assert "held_out: 2 problems" in evaluated
