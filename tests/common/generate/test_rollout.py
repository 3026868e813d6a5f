"""The engine inside TRL's trainer: the prompts that TRL would show, samples that a continued run repeats, what is logged."""

from pathlib import Path

from common.data.runs import read_rows
from common.generate import rollout
from common.generate.decode import unfit
from common.generate.rollout import Rollout, plain_logprobs, use_rollout_engine
from common.models.load import load_model, load_tokenizer

import pytest
import torch
from conftest import GRPO_MATH, ROOT, accelerate, run_command
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig, PreTrainedModel, set_seed
from trl import GRPOConfig, GRPOTrainer, ModelConfig

WORDS = ["one", "two", "three", "four"]
PROMPTS = [[{"role": "user", "content": f"{first} {second}"}] for first in WORDS for second in WORDS]


def trainer_of(folder: Path, **settings) -> GRPOTrainer:
    """Returns a trainer of a tiny model that samples by the engine, rewarded for long words."""
    args = ModelConfig(model_name_or_path="tiny:llama")
    tokenizer = load_tokenizer(args, [" ".join(WORDS)])
    set_seed(0)
    defaults = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 4,
        "save_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
    }
    trainer = GRPOTrainer(
        model=load_model(args, tokenizer).float(),
        args=GRPOConfig(output_dir=str(folder), **defaults | settings),
        reward_funcs=lambda completions, **columns: [float(len(turns[0]["content"])) for turns in completions],
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS]),
        processing_class=tokenizer,
    )
    trainer.rollout_func = Rollout(trainer)
    return trainer


def weights(trainer: GRPOTrainer) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}


def test_a_continued_run_samples_the_same(tmp_path: Path):
    whole = trainer_of(tmp_path / "run")
    begin = weights(whole)
    whole.train()
    rows = [row for row in whole.state.log_history if "reward" in row]
    differences = [row["sampling/sampling_logp_difference/mean"] for row in rows]
    assert len(differences) == 4
    assert max(differences) < 1e-4  # in float32 the engine's log-probabilities are those that training computes
    assert all(row["rollout_time"] > 0 for row in rows)
    continued = trainer_of(tmp_path / "run")
    continued.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(continued)[name]), name
    assert any(not torch.equal(weight, begin[name]) for name, weight in weights(whole).items())


def test_prompts_are_shown_as_the_trainer_would(tmp_path: Path):
    trainer = trainer_of(tmp_path)
    found = trainer.rollout_func(PROMPTS, trainer)
    assert found["prompt_ids"] == trainer._tokenize_prompts(PROMPTS)[0]  # what it does without a `rollout_func`
    assert [len(one) for one in found["logprobs"]] == [len(one) for one in found["completion_ids"]]
    assert max(map(len, found["completion_ids"])) == 6
    rows = list(zip(found["prompt_ids"], found["completion_ids"], strict=True))
    for first, second in zip(found["logprobs"], plain_logprobs(trainer.model, rows, 1.0), strict=True):
        assert first == pytest.approx(second, abs=1e-4)


@pytest.mark.parametrize(
    "chosen", [{"cache_implementation": "dynamic"}, {"generation_kwargs": {"no_repeat_ngram_size": 2}}, {}]
)
def test_who_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chosen: dict):
    trainer = trainer_of(tmp_path, **chosen)
    trainer.rollout_func = None
    use_rollout_engine(trainer)
    assert trainer.rollout_func is None  # there is no GPU
    monkeypatch.setattr(rollout, "engine_fits", lambda model, accelerator, config, gathered: unfit(model, config) is None)
    use_rollout_engine(trainer)
    assert isinstance(trainer.rollout_func, Rollout) == (not chosen)


def test_rows_of_texts_are_not_searched_for_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def search(*args, **kwargs):
        raise AssertionError("send_to_device")

    monkeypatch.setattr("accelerate.data_loader.send_to_device", search)
    trainer = trainer_of(tmp_path)
    with pytest.raises(AssertionError, match="send_to_device"):
        next(iter(trainer.get_train_dataloader()))
    use_rollout_engine(trainer)
    assert [row["prompt"] in PROMPTS for row in next(iter(trainer.get_train_dataloader()))] == [True] * 8


def small(model_type: str, **settings) -> PreTrainedModel:
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**sizes | settings))


def test_what_the_engine_does_not_fit():
    config = GenerationConfig(do_sample=True, temperature=0.9, top_p=0.9, eos_token_id=2, pad_token_id=0, max_new_tokens=4)
    assert unfit(small("qwen2"), config) is None
    windows = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
    for model, reason in (
        (small("gemma2", head_dim=16), "gemma2 attends in a way of its own, or was not tried"),
        (small("mistral", sliding_window=8), "this mistral attends in windows"),
        (small("qwen2", **windows), "this qwen2 attends in windows"),
        (small("llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), "scaled by the length"),
        (get_peft_model(small("llama"), LoraConfig(target_modules=["q_proj"], use_dora=True)), "a variant of LoRA"),
        (get_peft_model(small("llama"), LoraConfig(target_modules=["embed_tokens"])), "adapters of the kind Embedding"),
    ):
        assert reason in unfit(model, config)
    assert unfit(get_peft_model(small("llama"), LoraConfig(target_modules="all-linear")), config) is None
    assert unfit(small("llama"), GenerationConfig(num_beams=2, max_new_tokens=4)) == "it is asked for num_beams"
    sharded = small("llama")
    for weight in sharded.parameters():
        weight.ds_numel = weight.numel()  # what DeepSpeed notes on a weight when it shards it
    assert unfit(sharded, config) is None
    assert unfit(sharded, config, gathered=False) == "ZeRO-3 gathers its weights layer by layer"


@pytest.mark.slow
def test_a_run_learns_with_the_engine_as_without_it(tmp_path: Path):
    """grpo_math's tiny run, its own launch command and ZeRO-3, but for the engine, which a CPU would leave out."""
    script = tmp_path / "forced.py"
    script.write_text(
        "import runpy, sys\n"
        "import common.generate.rollout\n"
        "common.generate.rollout.engine_fits = lambda *args: True\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = accelerate(str(script), GRPO_MATH, "--output_dir", str(tmp_path / "run"))
    finished = run_command(command, timeout=900, PYTHONPATH=str(ROOT))
    assert finished.returncode == 0, finished.stderr[-3000:]
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert all("rollout_time" in row for row in rows if "reward" in row)
    accuracies = [row["metrics"]["accuracy"]["value"] for row in rows if row.get("split") == "held_out"]
    assert accuracies[0] < 0.35
    assert accuracies[-1] > 0.85  # 0.89 to 0.93 without it
