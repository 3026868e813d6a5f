"""What each launcher does with a signal: whether all is saved, what it exits with, how long it takes, who is left.

python -m pytest tests/reliability/test_signals.py -m slow -s
"""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, accelerate, command_env
from forks import free_port

SFT = "recipes/sft_instruct/train.py"
SETTINGS = "--max_steps 2000 --save_steps 2000 --eval_steps 2000 --num_held_out 4 --num_train 64 --logging_steps 1".split()
SETTINGS += ["--eval_strategy", "no", "--load_best_model_at_end", "false", "--early_stopping_patience", "0"]


def launch(launcher: str, output_dir: Path) -> list[str]:
    arguments = [*SETTINGS, "--output_dir", str(output_dir)]
    if launcher == "accelerate":
        return accelerate(SFT, *arguments, config="zero2", num_processes=2)
    sharded = ["--deepspeed", "accelerate_configs/ds_zero2.json"]
    if launcher == "torchrun":
        return ["torchrun", "--nproc_per_node", "2", "--master_port", str(free_port()), SFT, *arguments, *sharded]
    if launcher == "deepspeed":
        return ["deepspeed", "--num_gpus", "2", "--master_port", str(free_port()), SFT, *arguments, *sharded]
    return ["python", SFT, *arguments]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "sent", "env", "saves"),
    [
        ("python", signal.SIGTERM, {}, True),
        ("python", signal.SIGINT, {}, True),
        ("accelerate", signal.SIGTERM, {}, True),
        ("accelerate", signal.SIGINT, {}, True),
        ("accelerate", signal.SIGUSR1, {"PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGUSR1"}, True),
        ("accelerate", signal.SIGUSR1, {}, True),  # kills the launcher; the processes notice and save
        ("accelerate", signal.SIGKILL, {}, True),
        ("torchrun", signal.SIGTERM, {}, True),
        ("torchrun", signal.SIGKILL, {}, True),
        ("deepspeed", signal.SIGTERM, {"LOCAL_SIZE": "2"}, True),
        ("deepspeed", signal.SIGKILL, {"LOCAL_SIZE": "2"}, True),
    ],
)
def test_a_signal_to_the_launcher(tmp_path: Path, launcher: str, sent: signal.Signals, env: dict[str, str], saves: bool):
    output_dir, log = tmp_path / "run", tmp_path / "log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            launch(launcher, output_dir), cwd=ROOT, env=command_env(**env), stdout=output, stderr=output, start_new_session=True
        )
    metrics, deadline = output_dir / "metrics.jsonl", time.monotonic() + 200
    while not (metrics.exists() and '"loss"' in metrics.read_text()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    workers, began = psutil.Process(process.pid).children(recursive=True), time.monotonic()
    process.send_signal(sent)
    code = process.wait(timeout=120)
    _, left = psutil.wait_procs(workers, timeout=60)
    seconds, saved = time.monotonic() - began, list(output_dir.glob("checkpoint-*/complete"))
    text = log.read_text()
    print(f"\n{launcher:<11} {sent.name:<8} {env or ''}  saved {len(saved)}  exit {code}  {seconds:.0f} s  orphans {len(left)}")
    for orphan in left:
        orphan.kill()
    assert left == [], text
    assert bool(saved) == saves, text
    if saves:
        assert "; the same command continues" in text
    if launcher == "python":
        assert code == 128 + sent
