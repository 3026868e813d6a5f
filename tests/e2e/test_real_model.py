"""What real weights show and random ones hide: a pretrained model of 135 million parameters, the one of `make real-model`."""

import io
import json
import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from common.commands.chat import chat_with
from common.commands.main import main
from common.data.tokens import IGNORED, tokenize, use_training_template
from common.generate.completions import generate
from common.generate.decode import Decoder
from common.generate.settings import generation_config
from common.measure.loss import mean_loss
from common.models.load import load_model, load_tokenizer

import openai
import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT, Python, run_command
from datasets import Dataset
from forks import Server
from served import served
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig, SFTConfig, SFTTrainer

MODEL = ROOT / "pretrained" / "SmolLM2-135M-Instruct"
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k" / "train.jsonl"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MODEL.exists(), reason="needs the model that `make real-model` fetches"),
    pytest.mark.skipif(not GSM8K.exists(), reason=f"needs GSM8K's train.jsonl at {GSM8K}"),
]
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's variable-length attention needs an NVIDIA GPU")

TRAIN = "recipes/sft_instruct/train.py"
PARIS = "What is the capital of France?"
QUESTIONS = [PARIS, "Name three colours.", "What is 2 + 2?", "Who wrote Hamlet, and in which language?"]
REAL = ["--config", "real.yaml", "--dataset_name", str(GSM8K), "--eval_strategy", "no", "--save_strategy", "no"]
REAL += "--load_best_model_at_end false --use_peft true --lora_target_modules all-linear --dtype float32 --bf16 false".split()


def held_out_losses(run: Path) -> list[float]:
    """Returns the loss of a run's held-out rows, at each time it was measured."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["metrics"]["loss"]["value"] for row in rows if row.get("split") == "held_out"]


@pytest.fixture(scope="module")
def real() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32, and its tokenizer as it is trained."""
    args = ModelConfig(model_name_or_path=str(MODEL), dtype="float32", attn_implementation="sdpa")
    tokenizer = load_tokenizer(args)
    use_training_template(tokenizer)
    return load_model(args, tokenizer).eval(), tokenizer


@pytest.fixture(scope="module")
def rows(real: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> Dataset:
    """The first rows of GSM8K as tokens."""
    lines = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()[:4]]
    conversations = [
        {"messages": [{"role": "user", "content": line["question"]}, {"role": "assistant", "content": line["answer"]}]}
        for line in lines
    ]
    return tokenize(conversations, real[1], 1024, where="GSM8K")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, python: Python) -> tuple[Path, str]:
    """Two steps of adapters on it: the folder of the run, and what it printed."""
    folder = tmp_path_factory.mktemp("real") / "run"
    short = "--max_steps 2 --num_train 16 --num_held_out 2 --packing false --per_device_train_batch_size 2 --max_new_tokens 2"
    printed = python(TRAIN, *REAL, *short.split(), "--output_dir", str(folder)).stdout
    return folder, printed


@pytest.fixture(scope="module")
def exported(run: tuple[Path, str]) -> Path:
    """The standalone model of the run."""
    folder = run[0].with_name("export")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run[0]), "--output_dir", str(folder)])
    assert ended.value.code == 0
    return folder


# --- Training --------------------------------------------------------------------------------------------------------------


def test_training_begins_where_pretraining_ended(run: tuple[Path, str]):
    """A wrong template, mask, position or weight begins far above."""
    folder, printed = run
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    first = next(row["loss"] for row in metrics if "loss" in row)
    assert 0.3 < first < 3
    assert 0.3 < held_out_losses(folder)[0] < 3
    (trained,) = re.findall(r"assistant\n»([^»«]+)«", printed)
    assert "\\boxed{" in trained
    assert trained.endswith("<|im_end|>")


def test_what_the_assistant_says_is_trained_and_nothing_else(real):
    _, tokenizer = real
    system, first, second = "Be brief.", "Paris is the capital.", "About 2,100,000 people live there: 1,000 < x."
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": PARIS},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And how many live in it?\n\n10 or 20?"},
        {"role": "assistant", "content": second},
    ]
    (row,) = tokenize([{"messages": messages}], tokenizer, 512, where="test")
    pairs = list(zip(row["input_ids"], row["labels"], strict=True))
    assert all(label in (token, IGNORED) for token, label in pairs)
    spans = [[token for token, _ in span] for trained, span in groupby(pairs, lambda pair: pair[1] != IGNORED) if trained]
    assert [tokenizer.decode(span) for span in spans] == [f"{first}<|im_end|>", f"{second}<|im_end|>"]
    assert [span[-1] for span in spans] == [tokenizer.eos_token_id] * 2
    # Digits are single, as this model has learned them, and empty lines before one stay together.
    assert tokenizer.tokenize("\n\n2024") == ["ĊĊ", "2", "0", "2", "4"]


@pytest.mark.parametrize(
    ("dtype", "attention", "within"),
    [
        pytest.param("float32", "sdpa", 1e-4, id="sdpa"),
        pytest.param("bfloat16", "varlen", 0.01, id="varlen", marks=[pytest.mark.gpu, needs_a_gpu]),
    ],
)
def test_packing_does_not_change_the_loss(real, rows: Dataset, tmp_path: Path, dtype: str, attention: str, within: float):
    tokenizer, on_cpu = real[1], attention == "sdpa"
    model = load_model(ModelConfig(model_name_or_path=str(MODEL), dtype=dtype, attn_implementation=attention), tokenizer)
    args = SFTConfig(
        output_dir=str(tmp_path),
        packing=True,
        max_length=1024,
        per_device_eval_batch_size=1,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        report_to="none",
        activation_checkpointing=False,
    )
    trainer = SFTTrainer(model=model, args=args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    assert len(trainer.eval_dataset) == 1 < len(rows)
    alone = mean_loss(model, trainer.accelerator, rows, batch_size=1)["value"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(alone, abs=within)


# --- Answers ---------------------------------------------------------------------------------------------------------------


def test_it_stops_by_itself(real):
    model, tokenizer = real
    prompts = [[{"role": "user", "content": question}] for question in QUESTIONS]
    completions = generate(model, Accelerator(cpu=True), tokenizer, prompts, batch_size=4, max_new_tokens=256)
    assert [completion.cut for completion in completions] == [False] * len(QUESTIONS)
    assert all(completion.raw.endswith("<|im_end|>") for completion in completions)
    assert "Paris" in completions[0].text


def test_the_rollout_engine_says_what_generate_says(real):
    model, tokenizer = real
    config = generation_config(model, tokenizer, max_new_tokens=48)
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)["input_ids"]
        for question in QUESTIONS
    ]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        expected.append(output[0, len(prompt) :].tolist())
    assert [one.tokens for one in Decoder(config, most_slots=3)(model, prompts, 48)] == expected


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Returns a function that asks the model of a run a question, as `recipes chat` does."""

    def chat(run: Path, question: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{question}\n"))
        capsys.readouterr()
        chat_with(run, ["--max_new_tokens", "64"])
        return capsys.readouterr().out

    return chat


def test_what_is_exported_says_what_the_run_says(run: tuple[Path, str], exported: Path, chat: Callable[..., str]):
    """In a chat, beside its base; and merged, by transformers alone."""
    said = chat(run[0], PARIS)
    assert "Paris" in said
    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = AutoModelForCausalLM.from_pretrained(exported)
    turns = [{"role": "user", "content": PARIS}]
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
    assert output[-1] == tokenizer.eos_token_id
    assert f"{tokenizer.decode(output, skip_special_tokens=True)}\n" == said


def test_what_is_served_says_what_the_run_says(run: tuple[Path, str], exported: Path, chat: Callable[..., str], server: Server):
    """The run, its adapter beside its base; and the export."""
    said = chat(run[0], PARIS).strip()
    for folder in (run[0], exported):
        with served(server, folder) as address:
            client = openai.OpenAI(base_url=address, api_key="none")
            asked = {"model": str(folder), "messages": [{"role": "user", "content": PARIS}], "max_tokens": 64}
            (choice,) = client.chat.completions.create(**asked).choices
            assert (choice.message.content, choice.finish_reason) == (said, "stop")
            chunks = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked, stream=True)]
            assert len(chunks) > 3
            assert "".join(chunks) == said


# --- Learning --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_held_out_loss_falls_without_a_gpu(output_dir: Path):
    """The command of the recipe's README, with a third of the rows and one thread."""
    command = [sys.executable, TRAIN, "--config", "real_cpu.yaml", "--dataset_name", str(GSM8K), "--num_train", "100"]
    finished = run_command([*command, "--output_dir", str(output_dir)], timeout=850)
    assert finished.returncode == 0, finished.stderr
    before, after = held_out_losses(output_dir)
    assert after < before - 0.2
