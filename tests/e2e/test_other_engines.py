"""What an export says in engines that are not transformers, as docs/serving.md tells.

make other-engines     # the environment with the engines, then these tests
"""

import json
import os
import re
import subprocess
from pathlib import Path

from common.commands.export import export_run
from common.generate.completions import generate
from common.models.saved import load_run

import pytest
from accelerate import Accelerator
from conftest import ROOT, Python, recipe_modules
from test_chat import make_run
from test_real_model import GSM8K, MODEL, PARIS, REAL, TRAIN

ENGINES = ROOT / ".venv-engines"
SERVING = (ROOT / "docs" / "serving.md").read_text()
LIMIT = 64
QUESTIONS = [PARIS, "What is 2 + 2?", "Who wrote Hamlet, and in which language?", "Name a colour."]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ENGINES.exists(), reason="`make other-engines` makes the environment with the engines"),
]
LLAMA_CPP = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=1024, n_threads=1, verbose=False)
said = []
for question in json.loads(sys.argv[2]):
    messages = [{"role": "user", "content": question}]
    options = {"temperature": 0, "repeat_penalty": 1.0, "max_tokens": int(sys.argv[3])}
    (choice,) = model.create_chat_completion(messages, **options)["choices"]
    said.append([choice["message"]["content"].strip(), choice["finish_reason"]])
print(json.dumps(said))
"""
MLX = """
import json, sys
from mlx_lm import load, stream_generate
model, tokenizer = load(sys.argv[1])
said = []
for question in json.loads(sys.argv[2]):
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
    parts = list(stream_generate(model, tokenizer, prompt, max_tokens=int(sys.argv[3])))
    said.append(["".join(part.text for part in parts).strip(), parts[-1].finish_reason])
print(json.dumps(said))
"""


def engine(*command: object, **env: str) -> str:
    """Runs a command of the engines' environment, and returns what it printed."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **env}
    finished = subprocess.run(
        [str(ENGINES / "bin" / "python"), *map(str, command)], env=env, capture_output=True, text=True, timeout=800
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, python: Python) -> tuple[Path, list[list[str]]]:
    """The export of a short run of a pretrained model, in float32; what transformers says with it, and why it ends."""
    if not (MODEL.exists() and GSM8K.exists()):
        pytest.skip(f"needs the model that `make real-model` fetches, and GSM8K's train.jsonl at {GSM8K}")
    run = tmp_path_factory.mktemp("engines") / "run"
    short = "--max_steps 2 --num_train 16 --num_held_out 2 --packing false --per_device_train_batch_size 2 --max_new_tokens 2"
    python(TRAIN, *REAL, *short.split(), "--output_dir", str(run))
    folder = export_run(run)
    model, tokenizer, _ = load_run(folder, "cpu")
    prompts = [[{"role": "user", "content": question}] for question in QUESTIONS]
    completions = generate(model, Accelerator(cpu=True), tokenizer, prompts, batch_size=1, max_new_tokens=LIMIT)
    return folder, [[completion.text.strip(), "length" if completion.cut else "stop"] for completion in completions]


def test_llama_cpp(exported: tuple[Path, list[list[str]]], tmp_path: Path):
    folder, said = exported
    source, file = ENGINES / "vendor" / "llama.cpp", tmp_path / "model.gguf"
    convert = [source / "convert_hf_to_gguf.py", folder, "--outtype", "f32", "--outfile", file]
    engine(*convert, PYTHONPATH=str(source / "gguf-py"))
    assert json.loads(engine("-c", LLAMA_CPP, file, json.dumps(QUESTIONS), LIMIT).splitlines()[-1]) == said


def test_mlx(exported: tuple[Path, list[list[str]]]):
    folder, said = exported
    assert json.loads(engine("-c", MLX, folder, json.dumps(QUESTIONS), LIMIT).splitlines()[-1]) == said


def test_lm_evaluation_harness(tmp_path: Path):
    """The task of the page, on a model that suggests a penalty."""
    run = make_run(tmp_path / "run", "grpo_math", ROOT / "recipes" / "grpo_math" / "lesson" / "tiny_base")
    config = json.loads((run / "generation_config.json").read_text())
    config.pop("no_repeat_ngram_size")
    (run / "generation_config.json").write_text(json.dumps(config))
    with recipe_modules("grpo_math", ["arguments", "data", "rewards"]) as recipe:
        args = recipe["arguments"].MathArguments(dataset_name="synthetic", num_train=100, num_held_out=100)
        problems = recipe["data"].load_data(args, 0)[2]["held_out"]
        prompts = [recipe["data"].conversation(problem.question, "") for problem in problems]
        model, tokenizer, _ = load_run(run, "cpu")
        model.float()  # in bfloat16 two tokens can be equally likely, and the batch decides
        completions = generate(model, Accelerator(cpu=True), tokenizer, prompts, batch_size=50, max_new_tokens=40)
        right = [
            recipe["rewards"].is_correct(completion.text, problem.answer)
            for completion, problem in zip(completions, problems, strict=True)
        ]
    assert 10 < sum(right) < 90
    rows = [json.dumps({"question": problem.question, "answer": problem.answer}) for problem in problems]
    (tmp_path / "my_problems.jsonl").write_text("\n".join(rows))
    task = re.search(r"```text\n(task: my_problems\n.*?)```", SERVING, re.DOTALL)[1]
    (tmp_path / "my_problems.yaml").write_text(task.replace("my_problems.jsonl", str(tmp_path / "my_problems.jsonl")))
    (options,) = re.findall(r"lm_eval run --model hf (.*)", SERVING)
    options = options.replace("outputs/grpo_math/tiny/export", str(run)).replace(
        "--include_path .", f"--include_path {tmp_path}"
    )
    printed = engine("-m", "lm_eval", "run", "--model", "hf", *options.split(), "--device", "cpu")
    assert f"|{sum(right) / len(right):g}" in re.sub(" ", "", printed)
