"""Under ZeRO-3 adapters are whole on each process: not gathered for every module, and equal to those of ZeRO-2."""

import json
from pathlib import Path
from types import SimpleNamespace

from common.models.zero3 import keep_adapters_whole

import pytest
from forks import ROOT, Server
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

SMALL = "--max_steps 3 --warmup_steps 1 --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0".split()
SMALL += "--num_train 64 --num_held_out 2 --eval_steps 1000 --save_strategy no --bf16 false --logging_steps 1".split()
SMALL += "--per_device_train_batch_size 4 --use_peft true --lora_target_modules all-linear --lora_dropout 0".split()


def run(server: Server, folder: Path, name: str, stage: int, zero: dict, *more: str, **env: str) -> tuple[list[float], dict]:
    """Returns the losses of a run on two processes, and what was counted in it."""
    config = json.loads((ROOT / f"accelerate_configs/ds_zero{stage}.json").read_text())
    config["zero_optimization"] |= zero
    (folder / f"{name}.json").write_text(json.dumps(config))
    if stage == 3:
        env |= {"FIRST": str(ROOT / "tests/reliability/count_gathers.py"), "COUNTS": str(folder / f"{name}.counts")}
    command = ["recipes/sft_instruct/train.py", *SMALL, "--output_dir", str(folder / name), *more]
    run = server.start(*command, "--deepspeed", str(folder / f"{name}.json"), num_processes=2, **env)
    assert not any(run.wait(300)), run.text()
    rows = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    counts = json.loads((folder / f"{name}.counts").read_text()) if stage == 3 else {}
    return [row["loss"] for row in rows if "loss" in row], counts


@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["false", "true"])
def test_adapters_are_not_gathered(server: Server, tmp_path: Path, recompute: str):
    more = ("--activation_checkpointing", recompute)
    small = {"stage3_prefetch_bucket_size": 100, "stage3_max_live_parameters": 1000, "stage3_max_reuse_distance": 1000}
    plain, _ = run(server, tmp_path, "zero2", 2, {}, *more)
    whole, steps = run(server, tmp_path, "whole", 3, small, *more)
    split, before = run(server, tmp_path, "split", 3, small | {"stage3_param_persistence_threshold": 0}, *more)
    assert whole == pytest.approx(plain, abs=1e-6)
    assert split == pytest.approx(plain, abs=1e-6)
    # In the first steps DeepSpeed notes in which order modules come, and lets go of all of them.
    assert steps[-1].get("adapters", 0) == 0 < before[-1]["adapters"]
    assert steps[-1]["frozen"] > 0  # which are sharded as before
    assert steps[-1]["modules"] == before[-1]["modules"] < 12  # a layer is one, and not the 40 that it is with its adapters


def test_the_largest_adapter_is_kept_whole():
    base = AutoModelForCausalLM.from_config(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1))
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"]))
    for own, expected in ({}, 4 * 64), ({"stage3_param_persistence_threshold": 7}, 7):
        plugin = SimpleNamespace(zero_stage=3, deepspeed_config={"zero_optimization": dict(own)})
        keep_adapters_whole(model, plugin)
        assert plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] == expected
    for other, stage in (base, 3), (model, 2):
        plugin = SimpleNamespace(zero_stage=stage, deepspeed_config={"zero_optimization": {}})
        keep_adapters_whole(other, plugin)
        assert plugin.deepspeed_config == {"zero_optimization": {}}
