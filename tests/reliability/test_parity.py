"""The same eight rows a step give the same losses, however they are spread over processes, ZeRO's stages and accumulation.

    python -m pytest tests/reliability/test_parity.py -m "slow or not slow" -s    # prints the differences

Compared are the loss and the gradient's norm of every step, the loss on held-out rows, and in GRPO the advantages and the
entropy. The norm matters: Adam moves as far with a gradient that is twice too large, and GRPO's loss at the first update of a
generation is a mean of the advantages, whatever the model.

What would differ and is left out, because it depends on the process or on its batch and not on the rows:

- Dropout of adapters: each process draws its own numbers.
- What GRPO samples, for the same reason: the runs repeat the completions of one. On one process all stages sample the same.
- The balance of the experts (`router_aux_loss_coef`): the product of two means over a batch, which is no sum over its parts.
- The mean entropy of accumulated batches, which counts each as much, long or short. It is in the log alone.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
import pytest
from campaign import recipes, samples, write_configs
from forks import ROOT, Server

STEPS, ROWS = 4, 8
WITHIN = 1e-5  # of a loss, in nats a token; of the gradient's norm relative, ten times that
SMALL = f"--max_steps {STEPS} --warmup_steps 2 --logging_steps 1 --eval_steps {STEPS} --save_strategy no".split()
SMALL += "--num_train 64 --num_held_out 4 --bf16 false --dataloader_num_workers 0".split()
SUPERVISED = "--eval_strategy steps --load_best_model_at_end false --early_stopping_patience 0".split()
LORA = {"gpt_oss_multilingual": "--lora_target_parameters mlp.experts.gate_up_proj mlp.experts.down_proj".split()}
MORE = {
    "gpt_oss_multilingual": ["--router_aux_loss_coef", "0"],
    "multi_agent_grpo": ["--aggregator_steps", "0", "--single_agent", ""],
}
NUM_GENERATIONS = {"grpo_math": "4", "multi_agent_grpo": "2"}  # of two prompts; of a team of four


@dataclass(frozen=True)
class Way:
    """How the rows of a step are spread."""

    name: str
    stage: int | str = 0
    num_processes: int = 1
    accumulated: int = 1

    @property
    def rows(self) -> int:
        return ROWS // self.num_processes // self.accumulated

    def __str__(self) -> str:
        accumulated = f" x {self.accumulated} accumulated" if self.accumulated > 1 else ""
        return f"{self.name}, {self.num_processes} x {self.rows}{accumulated}"


PLAIN = Way("plain")
DDP = Way("DDP", num_processes=2)
ZERO1, ZERO2, ZERO3 = (Way(f"ZeRO-{stage}", stage, 2) for stage in (1, 2, 3))
OFFLOADED = [Way("ZeRO-2, offloaded", "2_offload", 2), Way("ZeRO-3, offloaded", "3_offload", 2)]
EIGHT = Way("ZeRO-3", 3, 8)
ACCUMULATED = [Way("plain", accumulated=2), Way("ZeRO-2", 2, 2, 2), Way("ZeRO-3", 3, 2, 2)]
WAYS = [DDP, ZERO1, ZERO2, ZERO3, *OFFLOADED, EIGHT, *ACCUMULATED]


def spread_out(ways: list[Way], *first: Way) -> pytest.MarkDecorator:
    """Parametrizes a test: one recipe in all ways, the others in some; the rest is for `make campaign`."""
    return pytest.mark.parametrize(
        ("recipe", "way"),
        [
            pytest.param(recipe, way, marks=[] if recipe == "sft_instruct" or way in first else pytest.mark.campaign)
            for recipe in recipes()
            for way in ways
        ],
        ids=str,
    )


LOGGED = ("loss", "grad_norm", "eval_loss", "entropy", "num_tokens")
# What the meter adds to each row of a training, and of one that samples. How many tokens there are does not depend on the way.
METER = {"train_seconds", "tokens_per_second", "data_wait", "padding_share", "peak_memory_gib"}
SUPERVISES, SAMPLES = {"num_tokens"}, {"rollout_share", "rollout_tokens_per_second"}
# A team is several trainings of the one recipe's kind.
SAMPLING = [
    pytest.param(recipe, marks=[] if recipe == "grpo_math" else pytest.mark.campaign) for recipe in recipes() if samples(recipe)
]
Values = dict[tuple[str, int, str], float]  # by part of the run, step and name


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DeepSpeed's settings, with buckets that hold a few of a tiny model's weights at once."""
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
    for path in folder.iterdir():
        config = json.loads(path.read_text())
        small = {"reduce_bucket_size": 5000, "allgather_bucket_size": 5000}
        if config["zero_optimization"]["stage"] == 3:
            small = {"reduce_bucket_size": 5000, "stage3_max_live_parameters": 1000, "stage3_max_reuse_distance": 1000}
        config["zero_optimization"] |= small
        path.write_text(json.dumps(config))
    return folder


Spread = Callable[..., Path]


@pytest.fixture(scope="module")
def spread(server: Server, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Spread:
    """Runs a recipe in a way; what has been run is not repeated."""
    done: dict[tuple, Path] = {}

    def spread(recipe: str, way: Way, *more: str, sampling: bool = False) -> Path:
        if (recipe, way, more, sampling) in done:
            return done[recipe, way, more, sampling]
        folder = tmp_path_factory.mktemp(recipe) / "run"
        command = [f"recipes/{recipe}/train.py", *SMALL, *MORE.get(recipe, []), "--output_dir", str(folder)]
        command += ["--per_device_train_batch_size", str(way.rows), "--gradient_accumulation_steps", str(way.accumulated)]
        command += ["--deepspeed", str(configs / f"zero{way.stage}.json")] if way.stage else []
        sampled = ["--log_completions", "true", "--num_generations", NUM_GENERATIONS.get(recipe, "8")]
        command += sampled if samples(recipe) else SUPERVISED
        env = {"TRL_EXPERIMENTAL_SILENCE": "1"}  # `rollout_func` is one of its experiments
        if samples(recipe) and not sampling:
            source = spread(recipe, PLAIN, *more, sampling=True)
            env |= {"FIRST": str(ROOT / "tests/reliability/same_completions.py"), "COMPLETIONS_OF": str(source)}
        processes = {"num_processes": way.num_processes, "launched": way.num_processes > 1}
        run = server.start(*command, *more, **processes, **env)
        assert not any(run.wait(600)), f"{recipe}, {way}:\n{run.text()}"
        done[recipe, way, more, sampling] = folder
        return folder

    return spread


def values_of(folder: Path) -> Values:
    """Returns the losses and norms that a run has logged."""
    found: Values = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        part = str(path.parent.relative_to(folder))
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        others = set() if any("reward" in row for row in rows) else SUPERVISES  # a second update of a generation has no reward
        for row in rows:
            assert "loss" not in row or row.keys() >= METER | (SAMPLES if "reward" in row else others)
            found |= {(part, row["step"], name): row[name] for name in LOGGED if name in row}
            if "loss" in row.get("metrics", {}):
                found[part, row["step"], f"loss of {row['split']}"] = row["metrics"]["loss"]["value"]
    return found


def completions_of(folder: Path) -> dict[str, list[dict]]:
    """Returns what a run has logged of its completions: the texts, their rewards and their advantages."""
    paths = sorted(folder.rglob("completions/*.parquet"))
    return {str(path.relative_to(folder)): pyarrow.parquet.read_table(path).to_pylist() for path in paths}


def compare(recipe: str, way: Way, reference: Path, folder: Path, what: str = "") -> None:
    """Prints the largest differences of two runs, and fails where one is too large."""
    one, other = values_of(reference), values_of(folder)
    assert one.keys() == other.keys()
    assert {step for _, step, name in one if name == "loss"} == set(range(1, STEPS + 1))
    skipped = {"entropy"} if way.accumulated > 1 or not samples(recipe) else set()
    differences = {key: abs(one[key] - other[key]) for key in one if key[2] not in skipped}
    norms = {key: difference / one[key] for key, difference in differences.items() if key[2] == "grad_norm" and one[key]}
    losses = {key: difference for key, difference in differences.items() if key[2] != "grad_norm"}
    assert norms
    advantages = ""
    if samples(recipe):
        ones, others = completions_of(reference), completions_of(folder)
        assert ones.keys() == others.keys()
        assert ones
        rows = [pair for path in ones for pair in zip(ones[path], others[path], strict=True)]
        advantages = f"  advantages {max(abs(a['advantage'] - b['advantage']) for a, b in rows):.1e}"
    print(
        f"\n{recipe:<22} {f'{way}{what}':<48} losses {max(losses.values()):.1e}  norms {max(norms.values()):.1e}{advantages}",
        end="",
    )
    assert {key: difference for key, difference in losses.items() if not difference <= WITHIN} == {}
    assert {key: difference for key, difference in norms.items() if not difference <= 10 * WITHIN} == {}
    if samples(recipe):
        assert ones == others  # to the last bit: they are made of the same texts


@pytest.mark.parametrize(("recipe", "way"), [("sft_instruct", ZERO3), ("grpo_math", ZERO2)], ids=str)
def test_two_of_them(spread: Spread, recipe: str, way: Way):
    compare(recipe, way, spread(recipe, PLAIN), spread(recipe, way))


@pytest.mark.slow
@spread_out(WAYS, ZERO3, ACCUMULATED[1])
def test_all_weights(spread: Spread, recipe: str, way: Way):
    compare(recipe, way, spread(recipe, PLAIN), spread(recipe, way))


@pytest.mark.slow
@spread_out([DDP, ZERO2, ZERO3, ACCUMULATED[2]], ZERO3)
def test_adapters(spread: Spread, recipe: str, way: Way):
    more = ["--use_peft", "true", "--lora_dropout", "0"]
    more += LORA.get(recipe, ["--lora_target_modules", "all-linear"])
    compare(recipe, way, spread(recipe, PLAIN, *more), spread(recipe, way, *more), ", adapters")


@pytest.mark.slow
@pytest.mark.parametrize("way", [DDP, ZERO2, ZERO3, ACCUMULATED[2]], ids=str)
@pytest.mark.parametrize("recipe", SAMPLING)
def test_two_updates_of_a_generation(spread: Spread, recipe: str, way: Way):
    more = ("--num_iterations", "2")
    compare(recipe, way, spread(recipe, PLAIN, *more), spread(recipe, way, *more), ", two updates a generation")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("recipe", SAMPLING)
def test_one_process_samples_the_same(spread: Spread, recipe: str, stage: int):
    way = Way(f"ZeRO-{stage}", stage)
    compare(recipe, way, spread(recipe, PLAIN, sampling=True), spread(recipe, way, sampling=True), ", sampling itself")
