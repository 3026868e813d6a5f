"""Every flag of every parser is decided: it has an effect that a test shows, a library reads it, or it is refused."""

import ast
import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

from common.generate.completions import Completion
from common.run.arguments import RunArguments
from common.run.config import parse
from common.run.flags import CHOICES, LIMITS, check_built
from common.run.refused import REFUSED, refuse

import pytest
import torch
import yaml
from conftest import CPU_PRECISION, ROOT, recipe_modules
from transformers import TrainingArguments, trainer_optimizer
from transformers.training_args import OptimizerNames
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


def arguments_of(recipe: str) -> ModuleType:
    with recipe_modules(recipe, ["arguments"]) as modules:
        return modules["arguments"]


def classes_of(recipe: str) -> list[type]:
    """Returns a recipe's dataclasses, the widest last."""
    found = [value for value in vars(arguments_of(recipe)).values() if dataclasses.is_dataclass(value)]
    found = [cls for cls in found if cls.__module__ == "arguments"]  # not that of the data of all recipes
    return sorted(found, key=lambda cls: len(dataclasses.fields(cls)))


def uses_grpo(recipe: str) -> bool:
    return "GRPOConfig" in (ROOT / "recipes" / recipe / "train.py").read_text()


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def refusal(recipe: str, *argv: str, script: str = "train.py", capsys: pytest.CaptureFixture[str], **more) -> str:
    """Returns the line that a command ends with, which must be one of ours, with exit code 2."""
    training = GRPOConfig if uses_grpo(recipe) else SFTConfig
    refused = getattr(arguments_of(recipe), "REFUSED", None)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        parse(str(ROOT / "recipes" / recipe / script), classes_of(recipe)[-1], training, list(argv), refused=refused, **more)
    lines = capsys.readouterr().err.splitlines()
    assert (ended.value.code, len(lines)) == (2, 1), lines
    return lines[0].removeprefix("error: ")


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


# --- Values that cannot work ----------------------------------------------------------------------------------------------

GRPO, SFT, TEAM = "grpo_math", "sft_instruct", "multi_agent_grpo"
WRONG = [
    (GRPO, "--temperature 0", "temperature is 0.0: it must be above 0"),
    (GRPO, "--loss_type gspo", "loss_type gspo: GSPO is `--loss_type grpo --importance_sampling_level sequence`"),
    (GRPO, "--loss_type dapoo", "loss_type: there is no `dapoo`; did you mean `dapo`?"),
    (SFT, "--loss_type nil", "argument --loss_type/--loss-type: there is no `nil`; did you mean `nll`?"),
    (GRPO, "--use_vllm true", "use_vllm true: vLLM is not installed; ..."),
    (GRPO, "--report_to wandbb", "report_to: there is no tracker `wandbb`; did you mean `wandb`?"),
    (GRPO, "--report_to dvclive", "report_to dvclive: it is not installed (`uv pip install dvclive`); ..."),
    (GRPO, "--report_to wandb dvclive", "report_to dvclive: it is not installed (`uv pip install dvclive`); ..."),
    (SFT, "--eval_strategy no", "early_stopping_patience 3 needs evaluations: add `--eval_strategy steps`..."),
    (SFT, "--load_best_model_at_end false", "early_stopping_patience 3 needs a metric to watch: ..."),
    (SFT, "--metric_for_best_model exact_match", "metric_for_best_model: there is no `exact_match`; there is: loss, eval_loss"),
    (
        SFT,
        "--save_strategy best --load_best_model_at_end false --early_stopping_patience 0",
        "save_strategy best needs evaluations and a metric: ...",
    ),
    (GRPO, "--save_strategy best", "save_strategy best needs evaluations and a metric: ..."),
    (SFT, "--eval_steps 0.5", "eval_steps is 0.5: it must be a whole number of steps, at least 1"),
    (GRPO, "--eval_steps 0", "eval_steps is 0.0: it must be a whole number of steps, at least 1"),
    (GRPO, "--attn_implementation flash_attention_2", "attn_implementation flash_attention_2: it is not installed, ..."),
    (GRPO, "--attn_implementation flesh", "attn_implementation: there is no `flesh`; ..."),
    (GRPO, "--lora_r 0", "lora_r is 0: it must be at least 1"),
    (GRPO, "--seed -1", "seed is -1: it must be from 0 to 4294967295"),
    (GRPO, "--learning_rate nan", "learning_rate is nan: give a finite number"),
    (GRPO, "--learning_rate inf", "learning_rate is inf: give a finite number"),
    (GRPO, "--learning_rate -1", "learning_rate is -1.0: it must be above 0"),
    (GRPO, "--reward_weights nan 1 1", "reward_weights is nan 1.0 1.0: give a finite number"),
    (GRPO, "--reward_weights 0 0 0", "reward_weights 0 0 0: no reward counts, so nothing would be learned; ..."),
    (GRPO, "--weight_decay -0.1", "weight_decay is -0.1: it must be 0 or more"),
    (GRPO, "--max_completion_length 0", "max_completion_length is 0: it must be at least 1"),
    (GRPO, "--max_steps 0", "max_steps is 0: it must be -1 (all epochs) or at least 1"),
    (GRPO, "--top_p 0", "top_p is 0.0: it must be above 0, and at most 1"),
    (GRPO, "--sync_ref_model true", "sync_ref_model true with beta 0: ..."),
    (GRPO, "--chat_template_kwargs thinking", "chat_template_kwargs thinking: write a JSON object, for example ..."),
    (GRPO, "--deepspeed true", "deepspeed true: there is no such file; ..."),
    (SFT, "--max_length 0", "max_length is 0: it must be at least 1"),
]


def assert_line(line: str, expected: str) -> None:
    assert line.startswith(expected.removesuffix("...")) if expected.endswith("...") else line == expected


@pytest.mark.parametrize(("recipe", "flags", "line"), WRONG, ids=[f"{recipe} {flags}" for recipe, flags, _ in WRONG])
def test_a_value_that_cannot_work(recipe: str, flags: str, line: str, capsys: pytest.CaptureFixture[str]):
    assert_line(refusal(recipe, *flags.split(), capsys=capsys), line)


IS_BF16 = CPU_PRECISION == "bf16"
OWN = "deepspeed {tmp}/ds.json: `"
JSONS = [
    (
        {"train_micro_batch_size_per_gpu": 3},
        OWN + "train_micro_batch_size_per_gpu` is 3 and per_device_train_batch_size is 32; ...",
    ),
    ({"train_batch_size": 3}, OWN + "train_batch_size` is 3 and the settings make 32; ..."),
    ({"fp16": {"enabled": True}}, OWN + "fp16.enabled` is true and fp16 is False; ..."),
    ({"bf16": {"enabled": not IS_BF16}}, OWN + f"bf16.enabled` is {str(not IS_BF16).lower()} and bf16 is {IS_BF16}; ..."),
    ({"optimizer": {"params": {"lr": 1.0}}}, OWN + "optimizer.params.lr` is 1.0 and learning_rate is 0.004; ..."),
    ({"scheduler": {"type": "WarmupLR"}}, OWN + "scheduler` would take the place of lr_scheduler_type and warmup_steps; ..."),
]


@pytest.mark.parametrize(("content", "line"), JSONS)
def test_a_deepspeed_json_that_says_otherwise(tmp_path: Path, content, line: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "ds.json").write_text(json.dumps(content))
    found = refusal(SFT, "--deepspeed", str(tmp_path / "ds.json"), capsys=capsys)
    assert_line(found, line.replace("{tmp}", str(tmp_path)))


def test_deepspeed_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    line = refusal(SFT, "--deepspeed", str(ROOT / "accelerate_configs/ds_zero2.json"), capsys=capsys)
    assert "the launcher brings DeepSpeed too (ZeRO-3)" in line


def test_plain_python_with_several_gpus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert refusal(SFT, capsys=capsys).startswith("4 GPUs are visible and there is no launcher: start with `accelerate launch")


# --- What is read ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """Returns a function that parses as a recipe does, and returns all settings by name."""

    def read(recipe: str, *argv: str, script: str = "train.py", **more) -> dict:
        monkeypatch.setattr("common.run.config.check_built", lambda *_: None)
        training = GRPOConfig if uses_grpo(recipe) else SFTConfig
        _, training_args, _ = parse(
            str(ROOT / "recipes" / recipe / script), classes_of(recipe)[-1], training, list(argv), **more
        )
        return training_args.run_values

    return read


def test_the_text_of_a_yaml_is_kept(tmp_path: Path, parsed):
    (tmp_path / "my.yaml").write_text(
        "system_prompt: 2024-01-01\nsave_strategy: no\nlora_target_modules: q_proj\nreport_to: [none]\n"
        "learning_rate: 1e-5\nmodel_revision: 0123\nlr_scheduler_kwargs: {min_lr: 1.0e-6}\ndataset_config: null\nnum_train: 9\n"
    )
    values = parsed(GRPO, "--config", str(tmp_path / "my.yaml"), "--use_peft", "true")
    assert values["system_prompt"] == "2024-01-01"
    assert (values["save_strategy"], values["lora_target_modules"], values["report_to"]) == ("no", ["q_proj"], ["none"])
    assert (values["learning_rate"], values["model_revision"]) == (1e-5, "0123")
    assert (values["lr_scheduler_kwargs"], values["dataset_config"]) == ({"min_lr": 1e-6}, None)


def test_later_files_and_flags_win(tmp_path: Path, parsed):
    (tmp_path / "my.yaml").write_text("seed: 5\nnum_held_out: 6\ndtype: float32\n")
    values = parsed(SFT, "--config", str(tmp_path / "my.yaml"), "--seed", "7")
    assert (values["seed"], values["num_held_out"], values["max_new_tokens"]) == (7, 6, 512)


def test_several_trackers(monkeypatch: pytest.MonkeyPatch, parsed):
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: ["wandb", "tensorboard"])
    assert parsed(GRPO, "--report_to", "wandb", "tensorboard")["report_to"] == ["wandb", "tensorboard"]


def test_an_evaluation_takes_the_settings_of_its_run(tmp_path: Path, parsed, capsys: pytest.CaptureFixture[str]):
    """config.yaml < tiny.yaml < the run < --config < flags."""
    settings = {
        "num_train": 77,
        "question": "What is it?",
        "max_pixels": 1568,
        "min_pixels": 3,
        "model_name_or_path": "tiny:qwen2_vl",
    }
    record = {"recipe": "ocr_vision_language", "world_size": 1, "settings": settings | {"use_cpu": False, "gone": 1}}
    run = tmp_path / "run"
    (run / "checkpoint-3").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps(record))
    (tmp_path / "my.yaml").write_text("min_pixels: 4\n")
    for folder in (run, run / "checkpoint-3"):
        argv = ["--model_name_or_path", str(folder), "--config", str(tmp_path / "my.yaml"), "--num_train", "8"]
        values = parsed("ocr_vision_language", *argv, "--dtype", "float32", script="evaluate.py")
        assert (values["question"], values["max_pixels"]) == ("What is it?", 1568)
        assert (values["min_pixels"], values["num_train"], values["use_cpu"]) == (4, 8, True)
        assert values["model_name_or_path"] == str(folder)
    capsys.readouterr()
    assert parsed(SFT, "--model_name_or_path", str(run), script="evaluate.py")["num_train"] == 0
    assert "is a run of the recipe ocr_vision_language: its settings are not taken." in capsys.readouterr().out
    (run / "run.json").write_text(
        json.dumps({"recipe": TEAM, "world_size": 1, "settings": {"model_name_or_path": "my/base", "num_train": 77}})
    )
    values = parsed(TEAM, "--run_dir", str(run), script="evaluate.py", run_flag="run_dir")
    assert (values["model_name_or_path"], values["num_train"], values["run_dir"]) == ("my/base", 77, str(run))


@pytest.mark.parametrize(("given", "read"), [("q_proj", ["q_proj"]), ("mlp.down_proj", ["mlp.down_proj"])])
def test_adapters_on_a_single_module(given: str, read: list[str]):
    model_args = ModelConfig(lora_target_modules=[given])
    check_built(SFTConfig(use_cpu=True, report_to="none"), model_args, trains=True)
    assert model_args.lora_target_modules == read


@pytest.mark.parametrize("given", ["all-linear", r".*\.[qv]_proj"])
def test_adapters_by_a_pattern(given: str):
    model_args = ModelConfig(lora_target_modules=[given])
    check_built(SFTConfig(use_cpu=True, report_to="none"), model_args, trains=True)
    assert model_args.lora_target_modules == given


@pytest.mark.parametrize("name", list(OptimizerNames))
def test_an_optimizer_that_cannot_be_made_is_refused_before_the_model_loads(
    name: OptimizerNames, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """All whose package is not here, by one line that names it; those of torch, transformers and bitsandbytes go on."""
    for package in ("galore_torch", "apollo_torch", "lomo", "grokadamw", "torchao", "schedulefree", "torch_optimi"):
        monkeypatch.setattr(f"transformers.trainer_optimizer.is_{package}_available", lambda *_: False)
    args = SFTConfig(use_cpu=True, report_to="none", optim=name)
    here = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")
    if name in (*here, *trainer_optimizer._BITSANDBYTES_OPTIMIZERS):
        return check_built(args, ModelConfig(), trains=True)
    check_built(args, ModelConfig(), trains=False)
    with pytest.raises(SystemExit) as ended:
        check_built(args, ModelConfig(), trains=True)
    line = capsys.readouterr().err
    assert (ended.value.code, line.count("\n")) == (2, 1)
    assert re.match(rf"error: optim {name.value}: .*(install|import).*; or take another, such as `--optim adamw_torch`$", line)


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
