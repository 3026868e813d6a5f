"""Killed, stopped or started twice, a run loses nothing and ends with the same weights."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import STEPS, Setting, campaign, run_whole, trained_steps, weights, write_configs
from forks import BIN, ROOT, Run, Server, wait_for
from safetensors.torch import load_file

SFT = Setting("sft_instruct", 0, 1)
LAST = ("--load_best_model_at_end", "false", "--early_stopping_patience", "0")  # keeps the last weights instead
IN_THE_FIRST_EVALUATION = """
import signal
from common.run.recorder import Recorder
Recorder.measure = lambda recorder, step: (signal.raise_signal(signal.SIGUSR1), print("measured"))
"""
LORA = Setting("sft_instruct", 3, 2, ("--use_peft", "true", "--lora_target_modules", "all-linear"))


@pytest.fixture(scope="session")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
    return folder


@pytest.fixture(scope="module")
def whole(server: Server, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_whole(server, SFT, tmp_path_factory.mktemp("whole") / "run", configs).folder


@pytest.fixture(scope="module")
def killed(server: Server, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed right after its last checkpoint."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    run = server.start(*SFT.command(folder, configs))
    wait_for((folder / f"checkpoint-{STEPS}/complete").exists, run)
    run.send(signal.SIGKILL)
    run.wait()
    assert not (folder / "complete").exists()
    return folder


@pytest.fixture
def start(server: Server, tmp_path: Path, configs: Path) -> Callable[..., Run]:
    """Starts the run of a setting in a folder of the test."""

    def start(*more: str, setting: Setting = SFT, **env: str) -> Run:
        command = [*setting.command(tmp_path / "run", configs), *more]
        return server.start(*command, num_processes=setting.num_processes, **env)

    return start


def finish(run: Run) -> str:
    assert not any(run.wait()), run.text()
    return run.text()


def has_trained(folder: Path) -> bool:
    return (folder / "metrics.jsonl").exists() and '"grad_norm"' in (folder / "metrics.jsonl").read_text()


def refused(run: Run, *words: str) -> None:
    codes = run.server.ask(wait=run.pids[:1], timeout=60)
    run.send(signal.SIGKILL)  # as a launcher does with the other processes, which leave the main one the time to speak
    run.wait()
    lines = [line for line in run.text().splitlines() if line.startswith("error:")]
    assert codes[0] == 2, run.text()
    assert len(lines) == 1, run.text()
    assert [word for word in words if word not in lines[0]] == [], run.text()


# Seven runs, three of them killed twice: ten kills.
@pytest.mark.parametrize("runs", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_kills_at_random_moments(server: Server, tmp_path: Path, runs: int):
    write_configs(tmp_path)
    small = ("--per_device_train_batch_size", "8")
    # The first setting keeps the weights with the lowest loss, as its config.yaml says.
    chosen = [Setting("sft_instruct", 2, 1, small), Setting("grpo_math", 3, 1, (*small, "--num_iterations", "2"))]
    assert campaign(server, runs, seed=21, chosen=chosen, folder=tmp_path) == []


@pytest.mark.slow
def test_kills_of_adapters_on_two_processes(server: Server, tmp_path: Path):
    write_configs(tmp_path)
    assert campaign(server, 3, seed=15, chosen=[LORA], folder=tmp_path) == []


def test_killed_after_the_last_checkpoint_nothing_is_trained_any_more(start, tmp_path: Path, whole: Path, killed: Path):
    shutil.copytree(killed, tmp_path / "run")
    finish(start())
    assert trained_steps(tmp_path / "run") == list(range(1, STEPS + 1))
    assert weights(tmp_path / "run") == weights(whole)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row.get("split") == "held_out"] == [0, 2, STEPS]


def test_a_signal_saves_and_the_same_command_continues(start, tmp_path: Path, whole: Path):
    run = start()
    wait_for(lambda: has_trained(tmp_path / "run"), run)
    run.send(signal.SIGUSR1)
    assert run.wait() == [143], run.text()
    line = run.text().splitlines()[-1]
    assert line.startswith("saved step ")
    assert line.endswith("; the same command continues")
    assert (tmp_path / "run/requeue").exists()
    finish(start())
    assert not (tmp_path / "run/requeue").exists()
    assert weights(tmp_path / "run") == weights(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_other_signals(start, tmp_path: Path, number: int, code: int):
    run = start()
    wait_for(lambda: has_trained(tmp_path / "run"), run)
    run.send(number)
    assert run.wait() == [code], run.text()
    assert run.text().splitlines()[-1].endswith("; the same command continues")
    assert not (tmp_path / "run/requeue").exists()


@pytest.mark.slow
def test_a_run_that_is_preempted_while_it_loads_is_requeued(start, tmp_path: Path):
    assert start("--max_run_time", "0:00:01").wait() == [143]
    (tmp_path / "run/requeue").unlink()
    run = start()
    wait_for((tmp_path / "run/.lock").exists, run)
    run.send(signal.SIGUSR1)
    assert run.wait() == [143], run.text()
    assert "the same command continues from what is saved" in run.text()
    assert (tmp_path / "run/requeue").exists()


@pytest.mark.slow
def test_a_process_that_hangs_is_named_and_the_others_end(start, tmp_path: Path):
    setting = Setting("grpo_math", 3, 2)
    run = start("--ddp_timeout", "30", setting=setting)
    metrics = tmp_path / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and '"loss"' in metrics.read_text(), run)
    stopped, began = run.pids[1], time.monotonic()
    os.kill(stopped, signal.SIGSTOP)
    try:
        while run.wait(0.1)[0] is None and time.monotonic() - began < 90:
            continue
        assert run.codes == [1, None], run.text()
        line = [line for line in run.text().splitlines() if "has not gone on" in line][-1]
        assert f"process 1 (pid {stopped} on {socket.gethostname()}): no answer; process 0 " in line
        assert "waiting in " in line
    finally:
        os.kill(stopped, signal.SIGKILL)
    finish(start("--ddp_timeout", "300", setting=setting))
    assert not list((tmp_path / "run").glob(".heartbeat*"))


@pytest.mark.slow
def test_a_signal_to_two_processes_between_two_updates_of_a_generation(start, tmp_path: Path):
    run = start(setting=Setting("grpo_math", 2, 2, ("--num_iterations", "2")))
    wait_for(lambda: has_trained(tmp_path / "run"), run)
    run.send(signal.SIGTERM)
    assert run.wait() == [143, 143], run.text()
    saved = int(run.text().split("saved step ")[1].split(";")[0])
    assert saved % 2 == 0
    assert (tmp_path / f"run/checkpoint-{saved}/complete").exists()


@pytest.mark.slow
def test_the_clock_stops_as_a_signal_does(start, tmp_path: Path):
    run = start("--max_run_time", "0:00:01")
    assert run.wait() == [143], run.text()
    assert "saved step 1; the same command continues" in run.text()
    assert (tmp_path / "run/requeue").exists()


def test_ctrl_c_before_training_promises_nothing(start, tmp_path: Path):
    run = start()
    wait_for((tmp_path / "run/.lock").exists, run)
    run.send(signal.SIGINT)
    assert run.wait() == [130], run.text()
    assert run.text().splitlines()[-1] == "nothing was saved yet; the same command begins anew"
    # On a busy machine the signal comes when the record has been written: only then something is left.
    assert not (tmp_path / "run").exists() or (tmp_path / "run/run.json").exists()
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_a_signal_in_the_first_evaluation_ends_at_once(start, tmp_path: Path):
    """Nothing is trained by then, and an evaluation may take longer than a launcher waits."""
    measuring = tmp_path / "measuring.py"
    measuring.write_text(IN_THE_FIRST_EVALUATION)
    run = start(FIRST=str(measuring))
    assert run.wait() == [143], run.text()
    assert run.text().splitlines()[-1] == "nothing was saved yet; the same command begins anew"
    assert not (tmp_path / "run/requeue").exists()  # with as little time the next job would get no further
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_the_same_command_twice(start, tmp_path: Path):
    first = start()
    wait_for((tmp_path / "run/.lock").exists, first)
    refused(start(), "a run is going on there")
    assert first.wait(0) == [None]
    first.send(signal.SIGKILL)
    first.wait()


@pytest.mark.slow
def test_there_is_always_a_complete_checkpoint(start, tmp_path: Path):
    run, counts = start("--save_total_limit", "1", "--save_steps", "1", *LAST), []
    while None in run.wait(0):
        counts.append(len(list((tmp_path / "run").glob("checkpoint-*/complete"))))
    assert run.codes == [0], run.text()
    assert 0 not in counts[counts.index(1) :]
    assert max(counts) <= 2
    assert [path.parent.name for path in (tmp_path / "run").glob("checkpoint-*/complete")] == [f"checkpoint-{STEPS}"]


def test_a_damaged_checkpoint_is_passed_over(start, tmp_path: Path, whole: Path, killed: Path):
    shutil.copytree(killed, tmp_path / "run")
    part = tmp_path / f"run/checkpoint-{STEPS}/optimizer.pt"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    text = finish(start())
    assert f"checkpoint-{STEPS} is damaged (optimizer.pt is not what was written): passing over it." in text
    assert f"Continuing from {tmp_path / 'run/checkpoint-2'}" in text
    assert weights(tmp_path / "run") == weights(whole)


def test_a_run_that_diverges_stops_in_one_line(start, tmp_path: Path):
    run = start("--learning_rate", "1e30", "--warmup_steps", "0", "--save_steps", "1", *LAST)
    refused(run, "the training has diverged", "diverged-step-", "learning_rate")
    assert not (tmp_path / "run/complete").exists()
    assert not (tmp_path / "run/model.safetensors").exists()
    batch = next((tmp_path / "run").glob("diverged-step-*.jsonl"))
    assert len(batch.read_text().splitlines()) == 32


# --- What is another run --------------------------------------------------------------------------------------------------


def test_what_may_change_between_the_parts_of_a_run(start, tmp_path: Path, whole: Path, killed: Path):
    shutil.copytree(killed, tmp_path / "run")
    shutil.rmtree(tmp_path / f"run/checkpoint-{STEPS}")
    refused(start("--learning_rate", "0.5"), "learning_rate 0.004, this one has 0.5")
    refused(start(setting=Setting("sft_instruct", 2, 1)), "deepspeed None, this one has ")
    sharded = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    refused(start(**sharded), "no sharding, this launch has DeepSpeed ZeRO-2")
    refused(start(setting=Setting("sft_instruct", 0, 2)), "1 processes, this launch has 2")
    finish(start("--per_device_eval_batch_size", "3", "--logging_steps", "2", "--save_steps", "4", "--eval_steps", "4"))
    assert weights(tmp_path / "run") == weights(whole)


def test_changed_data_is_another_run(start, tmp_path: Path):
    rows = [{"question": f"How many are {n} and {n}?", "answer": str(2 * n)} for n in range(200)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ("--dataset_name", str(data), "--max_run_time", "0:00:01")
    assert start(*more).wait() == [143]
    data.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    refused(start(*more), f"began with another dataset_name {data}", "bytes, sum ", "; now ")


@pytest.mark.slow
def test_default_folders_do_not_collide(server: Server, tmp_path: Path):
    def started(*more: str) -> str:
        command = [ROOT / "recipes/sft_instruct/train.py", "--max_steps", "1", "--num_held_out", "2", "--num_train", "8", *more]
        run = server.start(*map(str, command), launched=False, folders=[tmp_path])
        return finish(run)

    outputs = tmp_path / "outputs/sft_instruct"
    started()
    assert "This run is complete: see outputs/sft_instruct/tiny/report.html" in started()
    assert "this one goes to outputs/sft_instruct/tiny-2" in started("--seed", "1")
    data = tmp_path / "my data.jsonl"
    data.write_text("".join(json.dumps({"question": f"{n}?", "answer": str(n)}) + "\n" for n in range(40)))
    started("--dataset_name", "my data.jsonl")
    assert {path.name for path in outputs.iterdir()} == {"tiny", "tiny-2", "tiny-my_data"}
    assert all((path / "complete").exists() for path in outputs.iterdir())
    assert json.loads((outputs / "tiny/run.json").read_text())["settings"]["seed"] == 0


@pytest.mark.parametrize("script", ["train_accelerate.py", "train_trainer.py"])
def test_a_run_that_another_script_has_finished_is_not_trained_again(server: Server, tmp_path: Path, script: str):
    command = [f"recipes/sft_instruct/{script}", "--max_steps", "1", "--num_held_out", "2", "--num_train", "8"]
    command += ["--output_dir", str(tmp_path / "run")]
    finish(server.start(*command, launched=False))
    before = (tmp_path / "run/model.safetensors").stat().st_mtime_ns
    assert "This run is complete" in finish(server.start(*command, launched=False))
    assert (tmp_path / "run/model.safetensors").stat().st_mtime_ns == before


def test_a_run_of_0_1_0_is_read_and_continued(start, server: Server, tmp_path: Path, whole: Path, killed: Path):
    """Its record had no folder, script, sharding and inputs, and its checkpoints' marks were empty."""
    for source, name in ((whole, "whole"), (killed, "run")):
        shutil.copytree(source, tmp_path / name)
        record = json.loads((source / "run.json").read_text())
        settings = {name: value for name, value in record["settings"].items() if name != "use_liger_kernel"}
        old = {"recipe": record["recipe"], "world_size": 1, "settings": settings}
        (tmp_path / name / "run.json").write_text(json.dumps(old))
        for marked in (tmp_path / name).glob("checkpoint-*/complete"):
            marked.write_text("")
    finish(server.start("common/commands/chat.py", str(tmp_path / "whole"), launched=False))
    finish(server.start("common/commands/chat.py", str(tmp_path / f"run/checkpoint-{STEPS}"), launched=False))
    finish(server.start(str(BIN / "recipes"), "export", str(tmp_path / "whole"), launched=False))
    assert load_file(tmp_path / "whole/export/model.safetensors").keys() == load_file(whole / "model.safetensors").keys()
    finish(start())
    assert weights(tmp_path / "run") == weights(whole)
    assert "This run is complete" in finish(start())


def test_what_an_early_kill_leaves_is_no_obstacle(start, tmp_path: Path):
    (tmp_path / "run").mkdir()
    for name in ["config.yaml", ".config.yaml", "run.json", ".run.json", ".lock"]:
        (tmp_path / "run" / name).write_text("")
    run = start("--max_run_time", "0:00:01")
    assert run.wait() == [143], run.text()
    assert json.loads((tmp_path / "run/run.json").read_text())["recipe"] == "sft_instruct"
    assert "learning_rate" in (tmp_path / "run/config.yaml").read_text()


def test_a_damaged_record_is_refused_with_the_cure(start, tmp_path: Path):
    (tmp_path / "run/checkpoint-2").mkdir(parents=True)
    (tmp_path / "run/run.json").write_text('{"recipe": "sft_')
    refused(start(), "run.json is damaged", f"rm -r {tmp_path / 'run'}")


@pytest.mark.parametrize(
    ("more", "env", "words"),
    [
        (("--enable_jit_checkpoint", "true"), {}, "enable_jit_checkpoint"),
        (("--save_only_model", "true"), {}, "save_only_model"),
        (("--max_run_time", "3h"), {}, "max_run_time 3h"),
        ((), {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "srun started 2 tasks"),
    ],
)
def test_what_could_not_be_continued_is_refused(server: Server, tmp_path: Path, configs: Path, more, env, words: str):
    command = [*SFT.command(tmp_path / "run", configs), *more]
    refused(server.start(*command, launched=False, **env), words)
    assert not (tmp_path / "run").exists()


def test_models_can_be_read_by_others(whole: Path):
    assert (whole / "model.safetensors").stat().st_mode & 0o777 == (whole / "config.json").stat().st_mode & 0o777
