"""Kills runs at random moments, gives the same command again, and counts those that end with other weights.

    python -m tests.reliability.campaign --kills 100 --seed 0

Every recipe that has a folder, under ZeRO-2, ZeRO-3 and neither, on one and two processes, all weights and adapters, several
updates from a generation, accumulation, an epoch's end. Half of the kills come after the last checkpoint: while the model is
measured for the last time, saved and reported.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from forks import ROOT, Server, serving
from safetensors.torch import load_file

STEPS = 4
# The batch holds whole groups and whole teams, whatever the recipe.
SMALL = f"--max_steps {STEPS} --save_steps 2 --eval_steps 2 --logging_steps 1 --num_train 256 --num_held_out 4".split()
SMALL += "--per_device_train_batch_size 32 --dataloader_num_workers 0".split()
SHORTER = {"multi_agent_grpo": ["--aggregator_steps", "0"]}  # a recipe of several trainings: fewer of them
# The tiny model has fewer layers than those that the full-size run names.
ADAPTERS = {"gpt_oss_multilingual": ("--lora_target_parameters", "mlp.experts.gate_up_proj", "mlp.experts.down_proj")}


@dataclass(frozen=True)
class Setting:
    """One way of running a recipe."""

    recipe: str
    stage: int | str  # of ZeRO, perhaps with `_offload`; 0 without DeepSpeed
    num_processes: int
    more: tuple[str, ...] = ()

    def command(self, output_dir: Path, configs: Path) -> list[str]:
        sharded = ["--deepspeed", str(configs / f"zero{self.stage}.json")] if self.stage else []
        script = f"recipes/{self.recipe}/train.py"
        return [script, *SMALL, *SHORTER.get(self.recipe, []), *sharded, *self.more, "--output_dir", str(output_dir)]

    def __str__(self) -> str:
        sharded = f"ZeRO-{self.stage}" if self.stage else "no DeepSpeed"
        return f"{self.recipe}, {sharded}, {self.num_processes} processes{', ' if self.more else ''}{' '.join(self.more)}"


def recipes() -> list[str]:
    """Returns the names of all recipes: the folders that have a train.py."""
    return sorted(script.parent.name for script in (ROOT / "recipes").glob("*/train.py"))


def samples(recipe: str) -> bool:
    """Returns whether a recipe learns from completions that it samples."""
    return any("GRPOTrainer" in path.read_text() for path in (ROOT / f"recipes/{recipe}").glob("*.py"))


def settings() -> list[Setting]:
    """Returns every way that the campaign draws from."""
    found = []
    for recipe in recipes():
        lora = ("--use_peft", "true", *ADAPTERS.get(recipe, ("--lora_target_modules", "all-linear")))
        variants = [(), lora, ("--gradient_accumulation_steps", "2")]
        variants.append(("--num_iterations", "2") if samples(recipe) else ("--num_train", "64"))
        found += [
            Setting(recipe, stage, num_processes, more) for stage in (0, 2, 3) for num_processes in (1, 2) for more in variants
        ]
    return found


def write_configs(folder: Path) -> None:
    """Writes DeepSpeed's settings with thresholds at which a tiny model is sharded, too."""
    on_cpu = {"device": "cpu"}
    for stage in (1, 2, 3):
        config = json.loads((ROOT / f"accelerate_configs/ds_zero{stage}.json").read_text())
        if stage == 3:
            config["zero_optimization"] |= {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": 100}
        (folder / f"zero{stage}.json").write_text(json.dumps(config))
        # As accelerate_configs/zero2_offload.yaml and zero3_offload.yaml say.
        config["zero_optimization"] |= {"offload_optimizer": on_cpu} | ({"offload_param": on_cpu} if stage == 3 else {})
        (folder / f"zero{stage}_offload.json").write_text(json.dumps(config))


def weights(folder: Path) -> dict[str, bytes]:
    """Returns the saved weights of a run, by file and name."""
    files = [path for path in folder.rglob("*.safetensors") if "checkpoint-" not in str(path.relative_to(folder))]
    return {
        f"{path.relative_to(folder)}:{name}": weight.reshape(-1).view(torch.uint8).numpy().tobytes()
        for path in files
        for name, weight in load_file(path).items()
    }


def trained_steps(folder: Path) -> list[int]:
    """Returns the steps that a run has logged, in order."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["step"] for row in rows if "loss" in row]


@dataclass
class Whole:
    """A run that nobody interrupted."""

    folder: Path
    seconds: float
    tail: float  # seconds after the last checkpoint


def run_whole(server: Server, setting: Setting, folder: Path, configs: Path) -> Whole:
    """Runs to the end."""
    began = time.monotonic()
    run = server.start(*setting.command(folder, configs), num_processes=setting.num_processes)
    last = None
    while (codes := run.wait(0.02)) and None in codes:
        if last is None and any(folder.rglob(f"checkpoint-{STEPS}/complete")):
            last = time.monotonic()
    assert not any(codes), f"{setting}:\n{run.text()}"
    ended = time.monotonic()
    return Whole(folder, ended - began, ended - (last or ended))


def kill(
    server: Server, setting: Setting, whole: Whole, folder: Path, command: list[str], after_last: bool, share: float
) -> bool:
    """Starts a run and kills it; returns whether it was still there to be killed."""
    run, began = server.start(*command, num_processes=setting.num_processes), time.monotonic()
    while after_last and None in run.wait(0) and not any(folder.rglob(f"checkpoint-{STEPS}/complete")):
        time.sleep(0.01)
    wait = share * (whole.tail if after_last else whole.seconds)
    time.sleep(wait if after_last else max(0.0, wait - (time.monotonic() - began)))
    run.send(signal.SIGKILL)
    return -signal.SIGKILL in run.wait()


def kill_and_continue(server: Server, setting: Setting, whole: Whole, folder: Path, configs: Path, draw: random.Random) -> str:
    """Kills a run at a random moment, perhaps twice, and continues it.

    Returns:
        What is wrong with how it ended; empty if it ended as the one that nobody interrupted.
    """
    command, moments = setting.command(folder, configs), []
    for _ in range(draw.choice([1, 1, 2])):
        after_last, share = draw.random() < 0.5, draw.random()
        while not kill(server, setting, whole, folder, command, after_last, share):
            shutil.rmtree(folder)  # it was faster than the other one and ended before: begin anew, and kill it earlier
            share /= 2
        moments.append(f"{share:.2f} of {'the time after the last checkpoint' if after_last else 'the whole time'}")
    run = server.start(*command, num_processes=setting.num_processes)
    codes = run.wait(300)
    where = f"{setting}, killed at {' and '.join(moments)}"
    if any(code != 0 for code in codes):
        return f"{where}: exit codes {codes}\n{run.text()}"
    if trained_steps(folder) != trained_steps(whole.folder):
        return f"{where}: steps {trained_steps(folder)} instead of {trained_steps(whole.folder)}\n{run.text()}"
    if weights(folder) != weights(whole.folder):
        return f"{where}: other weights\n{run.text()}"
    return ""


def campaign(server: Server, kills: int, seed: int, chosen: list[Setting], folder: Path) -> list[str]:
    """Kills and continues so many runs, in a folder that has DeepSpeed's settings.

    Returns:
        What was wrong with each that ended otherwise than it should.
    """
    draw, wholes, wrong = random.Random(seed), {}, []
    for number in range(kills):
        setting = chosen[number % len(chosen)] if kills <= len(chosen) * 4 else draw.choice(chosen)
        if setting not in wholes:
            wholes[setting] = run_whole(server, setting, folder / f"whole-{len(wholes)}", configs=folder)
        found = kill_and_continue(server, setting, wholes[setting], folder / f"killed-{number}", folder, draw)
        print(f"{number + 1:>4}/{kills}  {'DIFFERS' if found else 'equal'}  {found or setting}", flush=True)
        wrong += [found] if found else []
        shutil.rmtree(folder / f"killed-{number}", ignore_errors=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", choices=recipes(), help="one recipe instead of all")
    args = parser.parse_args()
    chosen = [setting for setting in settings() if args.recipe in (None, setting.recipe)]
    random.Random(args.seed).shuffle(chosen)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        write_configs(Path(folder))
        wrong = campaign(server, args.kills, args.seed, chosen, Path(folder))
    print(f"{len(wrong)} of {args.kills} killed runs ended with other weights, another number of steps, or not at all.")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
