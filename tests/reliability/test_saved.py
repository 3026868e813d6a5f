"""What is saved is what was trained, and nothing but transformers and PEFT is needed to read it, in any folder.

    python -m pytest tests/reliability/test_saved.py -m "slow or not slow" -s    # prints the differences

At the end of a run the model in memory computes logits (trained_model.py). The saved one is read elsewhere, by a process that
has never imported the recipes (saved_model.py), from an outputs folder that has been moved: the same in float32, bit for bit.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest
from campaign import recipes, samples, write_configs
from forks import READING, ROOT, Server, serving
from safetensors.torch import load_file

SMALL = "--max_steps 4 --save_steps 2 --eval_steps 2 --logging_steps 1 --num_train 64 --num_held_out 4".split()
SMALL += "--warmup_steps 0 --bf16 false --dataloader_num_workers 0".split()
LAST = "--load_best_model_at_end false --early_stopping_patience 0 --eval_strategy steps".split()
# Of two evaluations the first is the better one, so that the best weights are not the last ones.
BEST = "--load_best_model_at_end true --early_stopping_patience 0 --eval_strategy steps --save_total_limit 3".split()
BEST += "--metric_for_best_model eval_loss --greater_is_better true".split()
ADAPTER = "--use_peft true --lora_dropout 0.05 --lora_target_modules all-linear".split()
EXPERTS = "--use_peft true --lora_dropout 0 --lora_target_parameters mlp.experts.gate_up_proj mlp.experts.down_proj".split()
ADAPTERS = {"gpt_oss_multilingual": EXPERTS}
TEAM = "--num_generations 2 --aggregator_steps 2".split()  # 4 agents x 2, then the aggregator, then one agent alone
MORE = {"multi_agent_grpo": TEAM}
# What a user would have chosen for chatting; evaluations generate otherwise.
SUGGESTED = {"do_sample": True, "temperature": 0.71, "top_p": 0.87, "repetition_penalty": 1.3}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that has not imported the recipes."""
    with serving(tmp_path_factory.mktemp("output"), imports=READING) as server:
        yield server


@dataclass
class Place:
    """A folder from which a recipe's runs are started, as a user would: `outputs/NAME`."""

    recipe: str
    folder: Path
    server: Server
    reader: Server
    configs: Path

    def train(self, name: str, stage: int, *more: str, num_processes: int | None = None) -> Path:
        """Trains into `outputs/NAME`."""
        num_processes = num_processes or (2 if stage else 1)
        trained = self.folder / "trained" / name
        trained.mkdir(parents=True)
        command = [f"recipes/{self.recipe}/train.py", *SMALL, *MORE.get(self.recipe, []), "--output_dir", f"outputs/{name}"]
        command += ["--per_device_train_batch_size", str(8 // num_processes)]
        command += [] if samples(self.recipe) else LAST
        command += ["--deepspeed", str(self.configs / f"zero{stage}.json")] if stage else []
        env = {"FIRST": str(ROOT / "tests/reliability/trained_model.py"), "TRAINED": str(trained)}
        processes = {"num_processes": num_processes, "launched": num_processes > 1, "folders": [self.folder] * num_processes}
        run = self.server.start(*command, *more, **processes, **env)
        assert not any(run.wait(600)), run.text()
        return self.folder / "outputs" / name

    def parts(self, run: Path) -> list[Path]:
        """Returns the folders of a run that hold a model: itself, or its parts."""
        return [path.parent for path in sorted(run.glob("*/complete")) if "checkpoint-" not in path.parent.name] or [run]

    def export(self, part: Path, name: str) -> Path:
        """Exports a part of a run."""
        target = f"outputs/{name}"
        command = [str(Path(sys.executable).parent / "recipes"), "export", str(part), "--output_dir", target]
        run = self.server.start(*command, launched=False, folders=[self.folder])
        assert run.wait(120) == [0], run.text()
        return self.folder / target

    def _moved(self, path: Path) -> str:
        outputs = self.folder / "outputs"
        return str(self.folder / "moved" / path.relative_to(outputs) if path.is_relative_to(outputs) else path)

    def read(self, saved: list[tuple[Path, Path | None, Path]]) -> list[dict]:
        """Reads models in another process and another place, to which all outputs have been moved."""
        (self.folder / "outputs").rename(self.folder / "moved")
        requests = [
            {"folder": self._moved(folder), "base": base and self._moved(base), "trained": str(trained)}
            for folder, base, trained in saved
        ]
        path = self.folder / "requests.json"
        path.write_text(json.dumps(requests))
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        try:
            command = ["tests/reliability/saved_model.py", str(path)]
            run = self.reader.start(*command, launched=False, folders=[elsewhere])
            assert run.wait(120) == [0], run.text()
        finally:
            (self.folder / "moved").rename(self.folder / "outputs")
        return [answer["found"] for answer in json.loads(path.read_text())]


@pytest.fixture(scope="module")
def place(server: Server, reader: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Place]:
    """Gives a recipe's place, with a model to begin from in `outputs/base`, which is a run itself."""
    configs, places = tmp_path_factory.mktemp("configs"), {}
    write_configs(configs)

    def place(recipe: str, base: bool = True) -> Place:
        if recipe not in places:
            places[recipe] = Place(recipe, tmp_path_factory.mktemp(recipe), server, reader, configs)
        if base and not (places[recipe].folder / "outputs/base").exists():
            places[recipe].train("base", 0)
        return places[recipe]

    return place


def check_template(folder: Path, exported: bool) -> None:
    """Checks that the saved chat template is one to infer with: plain Jinja reads it, and knows no marks of training.

    An export has it in tokenizer_config.json too, for older readers.
    """
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert not re.search(r"\{%-?\s*(end)?generation\s*-?%\}", template)
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer_config.get("chat_template") == (template if exported else None)
    turns = [{"role": "user", "content": "Alpha?"}]
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["strftime_now"] = lambda form: "a day"  # as transformers and vLLM give it to a template
    assert "Alpha?" in environment.from_string(template).render(messages=turns, add_generation_prompt=True)


def check(here: Place, run: Path, base: Path | None, what: str, exported: bool = True) -> None:
    """Checks every model of a run, and its export."""
    parts = here.parts(run)
    trained = [here.folder / "trained" / run.name / f"{part.name}.safetensors" for part in parts]
    assert all(path.exists() for path in trained)
    exports = [here.export(part, f"export-{run.name}-{part.name}") for part in parts if exported]
    for folder in [*parts, *exports]:
        check_template(folder, exported=folder in exports)
    saved = [(part, base, file) for part, file in zip(parts, trained, strict=True)]
    saved += [(export, None, file) for export, file in zip(exports, trained, strict=exported)]
    found = here.read(saved)
    differences = [one["difference"] for one in found]
    print(
        f"\n{here.recipe:<22} {what:<32} models {len(parts)}  saved {max(differences[: len(parts)]):.1e}  "
        f"exported {max(differences[len(parts) :], default=0):.1e}  of {max(one['largest'] for one in found):.3g}",
        end="",
    )
    for one in found:
        assert one["wrong"] == {}
        assert one["same conversation"]
    # Plain PEFT adds adapters of experts to the weights; in training they are multiplied by themselves.
    apart = bool(base) and here.recipe in ADAPTERS
    assert all(one["difference"] <= apart * 1e-5 * one["largest"] for one in found[: len(parts)])
    for one in found[len(parts) :]:  # a merged adapter adds in another order
        assert one["difference"] <= (1e-5 * one["largest"] if base else 0)
    for part in parts:
        files = [path for path in part.iterdir() if path.suffix == ".safetensors"]
        assert [path.name for path in files if path.stat().st_mode & 0o777 != 0o666 & ~umask()] == []


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def base_of(here: Place) -> Path:
    """Returns the model that the other runs begin from, and lets it suggest how it should be sampled."""
    base = here.parts(here.folder / "outputs/base")[0]
    path = base / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | SUGGESTED))
    return base


def check_best(run: Path, file: str) -> None:
    saved, best, last = (load_file(folder / file) for folder in (run, run / "checkpoint-2", run / "checkpoint-4"))
    assert saved.keys() == best.keys()
    assert all(saved[name].equal(best[name]) for name in saved)
    assert not all(saved[name].equal(last[name]) for name in saved)


def check_generation_config(base: Path, run: Path) -> None:
    one, other = (json.loads((folder / "generation_config.json").read_text()) for folder in (base, run))
    assert {name: value for name, value in other.items() if name != "transformers_version"} == {
        name: value for name, value in one.items() if name != "transformers_version"
    }


def train(here: Place, stage: int, adapter: bool, best: bool = False) -> tuple[Path, Path | None, str]:
    """Trains on the base of a place."""
    base = base_of(here)
    more = ["--model_name_or_path", str(base.relative_to(here.folder))]
    more += ADAPTERS.get(here.recipe, ADAPTER) if adapter else []
    more += BEST if best else []
    name = f"{'adapter' if adapter else 'whole'}-{stage}{'-best' if best else ''}"
    what = f"{f'ZeRO-{stage}' if stage else 'plain'}, {'adapter' if adapter else 'all weights'}{', best' if best else ''}"
    return here.train(name, stage, *more), base if adapter else None, what


def kinds(recipes: list[str], *first: tuple[int, bool]) -> pytest.MarkDecorator:
    """Parametrizes a test: one recipe at all stages, whole and with adapters; of the others the rest is for `make campaign`."""
    return pytest.mark.parametrize(
        ("recipe", "stage", "adapter"),
        [
            pytest.param(
                *(recipe, stage, adapter),
                marks=[] if recipe == "sft_instruct" or (stage, adapter) in first else pytest.mark.campaign,
                id=f"{recipe}-{stage}-{'adapter' if adapter else 'whole'}",
            )
            for recipe in recipes
            for stage in (0, 2, 3)
            for adapter in (False, True)
        ],
    )


@pytest.mark.slow
def test_the_best_weights_under_zero3(place: Callable[..., Place]):
    here = place("sft_instruct", base=False)
    run = here.train("best", 3, *BEST)
    check(here, run, None, "ZeRO-3, all weights, best", exported=False)
    check_best(run, "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_from_random_weights(place: Callable[..., Place], recipe: str):
    here = place(recipe)
    check(here, here.folder / "outputs/base", None, "plain, from the recipe's own base")


@pytest.mark.slow
@kinds(recipes(), (2, True), (3, False))
def test_the_last_weights(place: Callable[..., Place], recipe: str, stage: int, adapter: bool):
    here = place(recipe)
    run, base, what = train(here, stage, adapter)
    check(here, run, base, what, exported=adapter)
    if not adapter:
        for part in here.parts(run):
            check_generation_config(base_of(here), part)


@pytest.mark.slow
@kinds([recipe for recipe in recipes() if not samples(recipe)], (3, True))
def test_the_best_weights(place: Callable[..., Place], recipe: str, stage: int, adapter: bool):
    here = place(recipe)
    run, base, what = train(here, stage, adapter, best=True)
    check(here, run, base, what, exported=False)
    check_best(run, "adapter_model.safetensors" if adapter else "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 3])
def test_an_adapter_for_each_agent(place: Callable[..., Place], stage: int):
    here = place("multi_agent_grpo")
    base = base_of(here)
    more = ["--model_name_or_path", str(base.relative_to(here.folder)), "--adapter_per_agent", "true", *ADAPTER]
    run = here.train(f"agents-{stage}", stage, *more, "--aggregator_steps", "0", "--single_agent", "")
    assert len(here.parts(run)) == 4
    check(here, run, base, f"{f'ZeRO-{stage}' if stage else 'plain'}, an adapter each")
