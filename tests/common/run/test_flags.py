"""Every flag of every parser is decided: it has an effect that a test shows, a library reads it, or it is refused."""

import ast
import dataclasses
import importlib
import json
import sys
from pathlib import Path

from common.generate.completions import Completion
from common.run.arguments import RunArguments
from common.run.flags import CHOICES, LIMITS
from common.run.refused import REFUSED, refuse

import pytest
import torch
import yaml
from conftest import ROOT, recipe_modules
from parsing import GRPO, SFT, TEAM, arguments_of, classes_of, refusal
from transformers import TrainingArguments
from trl import GRPOConfig, ModelConfig, SFTConfig

TABLE = yaml.safe_load(Path(__file__).with_name("flags.yaml").read_text())
RECIPES = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/arguments.py"))
BASE = {field.name for field in dataclasses.fields(TrainingArguments)}
LIBRARY = {
    "TrainingArguments": BASE,
    "SFTConfig": {field.name for field in dataclasses.fields(SFTConfig)} - BASE,
    "GRPOConfig": {field.name for field in dataclasses.fields(GRPOConfig)} - BASE,
    "ModelConfig": {field.name for field in dataclasses.fields(ModelConfig)},
}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


# --- The table ------------------------------------------------------------------------------------------------------------


def test_every_flag_is_decided():
    decided = {name: set(names.split()) for name, names in TABLE["library"].items()}
    everywhere = set(TABLE["refused"]["TrainingArguments"])  # TRL declares some of these in each of its classes
    for cls, names in LIBRARY.items():
        refused = set(TABLE["refused"].get(cls, {})) | everywhere & names
        undecided = names - decided[cls] - refused
        assert not undecided, f"{cls} has new flags; decide each in flags.yaml: {sorted(undecided)}"
        assert not decided[cls] - names, f"{cls} no longer has {sorted(decided[cls] - names)}; take them out of flags.yaml"
        assert not decided[cls] & refused, f"both read and refused in {cls}: {sorted(decided[cls] & refused)}"
    assert {field.name for field in dataclasses.fields(RunArguments)} == set(TABLE["ours"]["every training"])
    for recipe in RECIPES:
        own = {field.name for cls in classes_of(recipe) for field in dataclasses.fields(cls)}
        assert own == set(TABLE["ours"].get(recipe, {})), f"the flags of {recipe} and those of flags.yaml"
        assert not own & (LIBRARY["ModelConfig"] | BASE), "a recipe's flag hides one of the libraries"
    counts = {kind: sum(len(v.split() if isinstance(v, str) else v) for v in TABLE[kind].values()) for kind in TABLE}
    print(f"{sum(counts.values())} flags: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))


def test_refused_flags_are_those_of_the_program():
    of_recipes = {recipe: set(getattr(arguments_of(recipe), "REFUSED", {})) for recipe in RECIPES}
    program = {cls: set(names) for cls, names in REFUSED.items()} | {name: names for name, names in of_recipes.items() if names}
    assert {cls: set(names) for cls, names in TABLE["refused"].items()} == program


@pytest.mark.parametrize("recipe", sorted(TABLE["ours"]))
def test_a_test_shows_what_each_of_our_flags_does(recipe: str):
    for name, where in TABLE["ours"][recipe].items():
        file, _, test = where.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{name}: no test {where}"


def test_names_of_the_checks_exist():
    """A limit or a choice of a flag that is gone would check nothing."""
    classes = [RunArguments, *(cls for recipe in RECIPES for cls in classes_of(recipe))]
    own = {field.name for cls in classes for field in dataclasses.fields(cls)}
    known = own.union(*LIBRARY.values())
    assert {name for _, names in LIMITS.values() for name in names.split()} <= known
    for cls, choices in CHOICES.items():
        assert set(choices) <= LIBRARY[cls] | BASE


def test_choices_are_those_of_the_trainers():
    from trl.trainer import grpo_trainer, sft_trainer

    source = {"GRPOConfig": Path(grpo_trainer.__file__).read_text(), "SFTConfig": Path(sft_trainer.__file__).read_text()}
    for cls in ("SFTConfig", "GRPOConfig"):
        for name, choices in CHOICES[cls].items():
            default = {"SFTConfig": SFTConfig, "GRPOConfig": GRPOConfig}[cls].__dataclass_fields__[name].default
            assert default in (*choices, None)
            if name in ("loss_type", "importance_sampling_level", "scale_rewards"):
                assert all(f'"{choice}"' in source[cls] for choice in choices), name


# --- Refused --------------------------------------------------------------------------------------------------------------

TRAINERS = {"TrainingArguments": ["sft_instruct", "grpo_math"], "SFTConfig": ["sft_instruct"], "GRPOConfig": ["grpo_math"]}
CASES = [
    (recipe, name, value)
    for cls, values in TABLE["refused"].items()
    for recipe in TRAINERS.get(cls, [cls] if cls in RECIPES else ["sft_instruct"])
    for name, value in values.items()
    if value is not None
]


@pytest.mark.parametrize("given", ["flag", "yaml"])
def test_a_flag_without_effect_is_refused(tmp_path: Path, given: str, capsys: pytest.CaptureFixture[str]):
    """All in one test: each takes a twentieth of a second, and pytest's own bookkeeping would double that."""
    output_dir = tmp_path / "run"
    for recipe, name, value in CASES:
        argv = [f"--{name}", value]
        if given == "yaml":
            base = yaml.safe_load((ROOT / "recipes" / recipe / "tiny.yaml").read_text())
            (tmp_path / "my.yaml").write_text(yaml.safe_dump(base | {name: json.loads(value) if value[0] == "{" else value}))
            argv = ["--config", str(tmp_path / "my.yaml")]
        line = refusal(recipe, *argv, "--output_dir", str(output_dir), capsys=capsys)
        assert line.startswith(f"{name} is not for this recipe: "), line
        assert "secret" not in line
    assert not output_dir.exists()


@pytest.mark.parametrize("training", [SFTConfig, GRPOConfig])
def test_a_default_passes(training: type):
    standard = {field.name: field.default for field in dataclasses.fields(training)}
    refuse(standard, standard, training, {})


@pytest.mark.parametrize("script", ["train_accelerate.py", "train_trainer.py"])
def test_a_script_that_reads_few_settings_refuses_the_others(script: str, capsys: pytest.CaptureFixture[str]):
    with recipe_modules(SFT, [script.removesuffix(".py")]) as modules:
        reads = modules[script.removesuffix(".py")].READS
    reads = reads.split() if isinstance(reads, str) else reads
    classes = (SFTConfig, ModelConfig, RunArguments, *classes_of("sft_instruct"))
    known = {field.name for cls in classes for field in dataclasses.fields(cls)}
    assert set(reads) <= known
    given = {"train_accelerate.py": ["--save_steps", "3"], "train_trainer.py": ["--loss_type", "dft"]}[script]
    others = [["--lora_r", "4"], ["--activation_offloading", "true"], ["--load_in_4bit", "true"]]
    if script == "train_accelerate.py":
        others += [["--optim", "sgd"], ["--report_to", "wandb"], ["--eval_steps", "7"], ["--early_stopping_patience", "9"]]
    for argv in (given, *others):
        line = refusal("sft_instruct", *argv, script=script, reads=reads, capsys=capsys)
        assert f"has no effect here: {script} does not read it" in line


def test_a_team_samples_as_it_is_trained(monkeypatch: pytest.MonkeyPatch):
    """Self-consistency, and what agents hear of each other in training."""
    settings = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1}
    with recipe_modules(TEAM, ["members", "evaluate", "agents", "data"]) as modules:
        calls = []
        monkeypatch.setattr(modules["members"], "generate", lambda *_, **given: calls.append(given) or [Completion("", 1)] * 3)
        ask = modules["members"].asker(None, None, None, GRPOConfig(use_cpu=True, report_to="none", **settings))
        agent, problem = modules["agents"].Agent("one", "Think."), modules["data"].Problem("1 + 1?", "2")
        modules["evaluate"].self_consistency(ask, [problem], agent, 3)
        modules["evaluate"].ask_team(ask, [problem] * 3, [agent])
    assert settings.items() <= calls[0].items()
    assert not settings.keys() & calls[1].keys()


# --- What flags of our own do, where no other test shows it ----------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list:
    """The calls of `datasets.load_dataset`, which end there."""
    import common.data.rows  # noqa: F401 - before its functions are replaced

    calls = []

    def load_dataset(*args, **kwargs):
        calls.append([*args, *kwargs.values()])
        raise LookupError

    for module in ("datasets", *(name for name in sys.modules if name.startswith("common."))):
        if hasattr(importlib.import_module(module), "load_dataset"):
            monkeypatch.setattr(f"{module}.load_dataset", load_dataset)
        if hasattr(importlib.import_module(module), "use_cache_if_unreachable"):
            monkeypatch.setattr(f"{module}.use_cache_if_unreachable", lambda: None)
    return calls


@pytest.mark.parametrize("recipe", RECIPES)
def test_dataset_config(recipe: str, asked: list):
    with recipe_modules(recipe, ["arguments", "data"]) as modules:
        found = [cls for cls in vars(modules["arguments"]).values() if dataclasses.is_dataclass(cls)]
        cls = next(cls for cls in found if cls.__module__ == "arguments")  # not that of the data of all recipes
        data = modules["data"]
        with pytest.raises(LookupError):
            data.load_data(cls(dataset_name="owner/data", dataset_config="other"), 0)
    assert asked[0][:2] == ["owner/data", "other"]


def test_system_prompt():
    with recipe_modules(GRPO, ["data"]) as modules:
        turns = modules["data"].conversation("6 * 7?", "Think.")
    assert [turn["content"] for turn in turns] == ["Think.", "6 * 7?"]


def test_num_train():
    with recipe_modules(SFT, ["arguments", "data"]) as modules:
        cls = modules["arguments"].InstructArguments
        train, *_ = modules["data"].load_data(cls(dataset_name="synthetic", num_train=7, num_held_out=3), 0)
    assert len(train) == 7


def test_generated_lines():
    with recipe_modules("ocr_vision_language", ["arguments", "data"]) as modules:

        def rows(**more):
            args = modules["arguments"].OcrArguments(dataset_name="synthetic", num_train=60, num_held_out=1, **more)
            return [row["messages"][-1]["content"] for row in modules["data"].load_data(args, 0)[0]]

        def words(texts: list[str]) -> float:
            return sum(text.replace(" ", "").isalpha() for text in texts) / len(texts)

        def mean(texts: list[str]) -> float:
            return sum(map(len, texts)) / len(texts)

        assert words(rows(code_share=0.0)) > words(rows(code_share=1.0))
        growing = rows(curriculum=1.0)
        assert mean(growing[:20]) < mean(growing[-20:])
        args = modules["arguments"].OcrArguments(
            dataset_name="synthetic", num_train=1, num_held_out=1, line_height=40, strength=0.0
        )
        assert modules["data"].load_data(args, 0)[0][0]["images"][0].open().height == 40
