"""The optimizer's states in 8 bits, under ZeRO-2 and ZeRO-3: the same losses within their noise, and they are continued."""

import json
from pathlib import Path
from types import SimpleNamespace

from common.run.flags import check_built

import pytest
from forks import ROOT, Server
from transformers.integrations import HfDeepSpeedConfig
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.training_args import OptimizerNames
from trl import ModelConfig

SMALL = "--max_steps 12 --warmup_steps 2 --eval_strategy no --load_best_model_at_end false --early_stopping_patience 0".split()
SMALL += "--num_held_out 2 --eval_steps 1000 --logging_steps 1 --per_device_train_batch_size 8 --save_steps 6".split()


def losses(server: Server, folder: Path, stage: int, *more: str, **env: str) -> list[float]:
    command = ["recipes/sft_instruct/train.py", *SMALL, "--deepspeed", f"accelerate_configs/ds_zero{stage}.json", *more]
    run = server.start(*command, "--output_dir", str(folder), num_processes=2, **env)
    assert not any(run.wait(300)), run.text()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_the_losses_are_those_of_32_bits_within_their_noise(server: Server, tmp_path: Path, stage: int):
    plain = losses(server, tmp_path / "plain", stage)
    eight = losses(server, tmp_path / "eight", stage, "--optim", "adamw_bnb_8bit")
    assert plain != eight  # it is another optimizer
    assert plain[-1] < plain[0] - 1
    assert eight == pytest.approx(plain, abs=0.01)


@pytest.mark.slow
def test_a_run_in_8_bits_is_continued(server: Server, tmp_path: Path):
    """Stopped after half of its steps by the clock, which is looked at after each."""
    whole = losses(server, tmp_path / "whole", 2, "--optim", "adamw_bnb_8bit")
    parts = tmp_path / "parts"
    command = ["recipes/sft_instruct/train.py", *SMALL, "--deepspeed", "accelerate_configs/ds_zero2.json"]
    command += ["--optim", "adamw_bnb_8bit", "--output_dir", str(parts)]
    stopped = server.start(*command, "--max_run_time", "0:00:01", num_processes=2)
    assert stopped.wait(300) == [143, 143], stopped.text()
    assert losses(server, parts, 2, "--optim", "adamw_bnb_8bit") == whole


def test_offloaded_it_is_refused(capsys: pytest.CaptureFixture[str]):
    config = json.loads((ROOT / "accelerate_configs/ds_zero2.json").read_text())
    config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
    plugin = SimpleNamespace(zero_stage=2, hf_ds_config=HfDeepSpeedConfig(config))
    unset_hf_deepspeed_config()
    args = SimpleNamespace(deepspeed_plugin=plugin, optim=OptimizerNames.ADAMW_BNB, optim_args=None)
    with pytest.raises(SystemExit):
        check_built(args, ModelConfig(), True)
    line = capsys.readouterr().err
    assert line.startswith("error: optim adamw_bnb_8bit with the optimizer in the host's memory")
    args.optim = OptimizerNames.ADAMW_TORCH
    check_built(args, ModelConfig(), True)
