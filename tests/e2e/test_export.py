"""A run becomes a model that loads without this repository, and it is the model that was trained."""

import errno
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

from common.commands.main import main

import pytest
import torch
from conftest import GRPO_MATH, ROOT, SHORT, accelerate, command_env, run_command
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

TINY_BASE = ROOT / "recipes" / "grpo_math" / "lesson" / "tiny_base"
QUESTION = "Ada has 6 jars with 7 pens in each. How many pens does Ada have?"
FOLLOW_UP = "Ben has 9 coins. Ben gives 2 of them to Eva. How many coins are left?"
# So large a learning rate that two steps move the logits by more than a rounding.
LORA = "--use_peft true --lora_target_modules all-linear --learning_rate 0.02 --warmup_steps 0".split()


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short LoRA run under ZeRO-3."""
    folder = tmp_path_factory.mktemp("export") / "run"
    finished = run_command(accelerate(GRPO_MATH, *SHORT, *LORA, "--output_dir", str(folder)))
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture
def like_lora_run(lora_run: Path, tmp_path: Path) -> Path:
    """A copy of the run's own files, without its checkpoints and weights: what a test trains is put in their place."""
    weights = ("adapter*", "checkpoint-*", "export*", ".export*")
    return Path(shutil.copytree(lora_run, tmp_path / "run", ignore=shutil.ignore_patterns(*weights)))


def recipes(*arguments: str) -> int:
    """Runs the command in this process, which has imported the libraries already, and returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def logits(model: PreTrainedModel | PeftModel, tokenizer_folder: Path) -> torch.Tensor:
    inputs = AutoTokenizer.from_pretrained(tokenizer_folder)(QUESTION, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        return model.float().eval()(**inputs).logits


def with_adapter(run: Path) -> PeftModel:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(TINY_BASE, dtype=torch.float32), run)


def check_standalone(export: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Checks that nothing but the folder is needed, and that it holds what makes a chat."""
    assert sorted(path.name for path in export.glob("*.safetensors")) == ["model.safetensors"]
    assert not list(export.glob("adapter*"))
    weights = load_file(export / "model.safetensors")
    assert all(weight.numel() > 0 and weight.isfinite().all() for weight in weights.values())
    assert {weight.dtype for weight in weights.values()} == {dtype}
    tokenizer = AutoTokenizer.from_pretrained(export)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True)
    assert prompt.startswith(f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n")
    assert json.loads((export / "generation_config.json").read_text())["eos_token_id"] == [tokenizer.eos_token_id]
    assert json.loads((export / "config.json").read_text())["use_cache"] is True


def test_an_adapter_is_merged_and_the_model_stays_the_same(lora_run: Path, capsys: pytest.CaptureFixture[str]):
    assert recipes("export", str(lora_run)) == 0
    printed = capsys.readouterr().out
    export = lora_run / "export"
    check_standalone(export, torch.float32)  # in which it was trained, though its base is stored in bfloat16
    trained = logits(with_adapter(lora_run), lora_run)
    before = logits(AutoModelForCausalLM.from_pretrained(TINY_BASE), lora_run)
    exported = logits(AutoModelForCausalLM.from_pretrained(export), export)
    rounding = (trained - exported).abs().max()
    assert rounding < 1e-5 * trained.abs().max()
    assert (trained - before).abs().max() > 5 * rounding
    assert "The adapter was merged into its base model in float32." in printed

    card = (export / "README.md").read_text()
    assert "library_name: transformers" in card
    measured = [line for line in (lora_run / "README.md").read_text().splitlines() if line.startswith("| held_out")]
    assert measured
    assert all(line in card for line in measured)
    assert card.rstrip().endswith(printed.splitlines()[0])

    files = {path: path.stat().st_mtime_ns for path in lora_run.rglob("*")}
    assert recipes("export", str(lora_run)) == 2
    assert capsys.readouterr().err == (
        f"error: output_dir {export} is there already; choose another --output_dir, or remove it\n"
    )
    assert {path: path.stat().st_mtime_ns for path in lora_run.rglob("*")} == files


def test_the_code_of_a_card_says_what_was_measured(
    lora_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """That of the adapter, which is told where its base is, and that of its export."""
    if not (lora_run / "export").exists():
        assert recipes("export", str(lora_run)) == 0
    tokenizer = AutoTokenizer.from_pretrained(lora_run)
    inputs = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False)
    inputs = tokenizer(inputs, return_tensors="pt", add_special_tokens=False)
    output = with_adapter(lora_run).eval().generate(**inputs, do_sample=False, max_new_tokens=40)
    expected = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert expected.strip()
    for folder in (lora_run, lora_run / "export"):
        card = (folder / "README.md").read_text()
        assert str(ROOT) not in card
        code = card.partition("```python\n")[2].partition("```")[0]
        assert ('base = "tiny_base"' in code) == (folder == lora_run)
        monkeypatch.chdir(folder)
        capsys.readouterr()
        exec(code.replace('"tiny_base"', repr(str(TINY_BASE))).replace('"..."', repr(QUESTION)), {})
        assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize(
    ("memory", "disk", "line"),
    [
        (2e6, 1e12, "{run}: exporting {count:,} parameters needs {memory:.3g} GB of memory, and 0.002 GB are free; "),
        (1e12, 2e6, "output_dir {target}: the export needs {disk:.3g} GB, and 0.002 GB are free there; make room, or "),
    ],
)
def test_too_little_memory_or_disk_is_said_before_anything_is_loaded(
    lora_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    memory: float,
    disk: float,
    line: str,
):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=memory))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=disk))
    monkeypatch.setattr("common.commands.export.load_run", lambda *_, **__: pytest.fail("it was loaded"))
    target = tmp_path / "new" / "export"
    assert recipes("export", str(lora_run), "--output_dir", str(target)) == 2
    error = capsys.readouterr().err
    count = sum(weight.numel() for weight in load_file(TINY_BASE / "model.safetensors").values())
    largest = max(weight.numel() for weight in load_file(TINY_BASE / "model.safetensors").values())
    sizes = {"count": count, "memory": 0.25 + 8e-9 * largest, "disk": 8e-9 * count}  # trained in float32
    assert error.startswith("error: " + line.format(run=lora_run, target=target, **sizes))
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_said(
    lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Weights are in files while an export is made: a disk may fill up before anything of it is written."""

    def fill(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", fill)
    target = tmp_path / "export"
    assert recipes("export", str(lora_run), "--output_dir", str(target)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: output_dir {target}: the disk is full, ")
    assert error.endswith(" GB are free now; make room, and give the same command again\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_what_a_base_suggests_in_vain_is_taken_out(
    like_lora_run: Path, lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
):
    """transformers loads a temperature beside `do_sample: false`, and refuses to save it."""
    base = Path(shutil.copytree(TINY_BASE, tmp_path / "base"))
    suggested = base / "generation_config.json"
    suggested.write_text(json.dumps(json.loads(suggested.read_text()) | {"do_sample": False, "temperature": 0.6, "top_p": 0.9}))
    if kind == "whole":
        for path in [*base.glob("*config.json"), base / "model.safetensors"]:
            if path.name != "tokenizer_config.json":
                shutil.copy(path, like_lora_run)
    else:
        for path in lora_run.glob("adapter*"):
            shutil.copy(path, like_lora_run)
        config = like_lora_run / "adapter_config.json"
        config.write_text(config.read_text().replace(str(TINY_BASE), str(base)))
    assert recipes("export", str(like_lora_run)) == 0
    said = "its generation_config.json sets temperature 0.6, top_p 0.9, which has no effect beside the rest; taken out.\n"
    assert capsys.readouterr().out.count(said) == 1
    exported = GenerationConfig.from_pretrained(like_lora_run / "export")
    exported.validate(strict=True)
    assert exported.do_sample is not True
    assert not exported.temperature
    mask = os.umask(0)
    os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in (like_lora_run / "export").iterdir()} == {0o666 & ~mask}


def test_each_line_of_a_pipe_is_a_turn(lora_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    model, tokenizer = with_adapter(lora_run).eval(), AutoTokenizer.from_pretrained(lora_run)

    def expected(*turns: str, limit: int = 40) -> str:
        messages = [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(turns)]
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs, do_sample=False, max_new_tokens=limit, eos_token_id=tokenizer.eos_token_id)
        return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    def chat(lines: str, *options: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert recipes("chat", str(lora_run), *options) == 0
        return capsys.readouterr().out

    first = expected(QUESTION)
    assert first.strip()
    second, alone = expected(QUESTION, first, FOLLOW_UP), expected(FOLLOW_UP)
    assert second != alone
    printed = chat(f"{QUESTION}\n\n{FOLLOW_UP}\n/new\n{FOLLOW_UP}\n")
    assert printed == f"{first}\n{second}\n{alone}\n"
    short = expected(QUESTION, limit=3)
    assert short != first
    assert chat(QUESTION, "--max_new_tokens", "3") == f"{short}\n"


@pytest.mark.parametrize(
    "adapter",
    [
        pytest.param({"target_modules": ["q_proj", "down_proj"]}, id="no head"),
        pytest.param({"target_modules": ["q_proj", "lm_head"]}, id="head of tied embeddings"),
        pytest.param({"target_modules": ["q_proj", "embed_tokens"]}, id="tied embeddings"),
        pytest.param({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, id="a whole head"),
        pytest.param({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, id="whole embeddings"),
    ],
)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_adapters_of_tied_embeddings(like_lora_run: Path, adapter: dict[str, list[str]]):
    """The tiny model's embeddings are also its output head: an adapter of one of them must not move the other."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(TINY_BASE, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False, **adapter))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(like_lora_run)
    trained = logits(model, like_lora_run)

    assert recipes("export", str(like_lora_run)) == 0
    exported = logits(AutoModelForCausalLM.from_pretrained(like_lora_run / "export"), like_lora_run)
    assert (trained - exported).abs().max() < 0.03 * trained.abs().max()
    assert (trained - logits(AutoModelForCausalLM.from_pretrained(TINY_BASE), like_lora_run)).abs().max() > 1


def test_whole_weights_are_exported_bit_by_bit(like_lora_run: Path):
    for path in [*TINY_BASE.glob("*config.json"), TINY_BASE / "model.safetensors"]:
        if path.name != "tokenizer_config.json":
            shutil.copy(path, like_lora_run)
    output_dir = like_lora_run.parent / "new" / "model"
    assert recipes("export", str(like_lora_run), "--output_dir", str(output_dir)) == 0
    check_standalone(output_dir)
    expected, found = load_file(TINY_BASE / "model.safetensors"), load_file(output_dir / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)


@pytest.mark.parametrize(
    ("factor", "line"),
    [
        (1.5, "the export read back is not what was saved: logits differ by"),
        (float("nan"), "the weight model.layers.1.mlp.up_proj.weight is empty or not finite in the export"),
    ],
)
def test_an_export_that_is_not_the_model_is_not_kept(
    lora_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    factor: float,
    line: str,
):
    save = PreTrainedModel.save_pretrained

    def save_wrongly(model: PreTrainedModel, folder: Path) -> None:
        save(model, folder)
        weights = load_file(folder / "model.safetensors")
        weights["model.layers.1.mlp.up_proj.weight"] *= factor
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save_wrongly)
    files = sorted(lora_run.rglob("*"))
    assert recipes("export", str(lora_run), "--output_dir", str(tmp_path / "export")) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert sorted(lora_run.rglob("*")) == files


def test_a_wrong_merge_is_noticed(
    lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda model: model.unload(), raising=False)
    assert recipes("export", str(lora_run), "--output_dir", str(tmp_path / "export")) == 2
    assert capsys.readouterr().err.startswith("error: the merged model is not the trained one: logits differ by")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_loaded_is_said_in_a_line(like_lora_run: Path, lora_run: Path, capsys: pytest.CaptureFixture[str]):
    def error(run: Path) -> str:
        assert recipes("export", str(run)) == 2
        return capsys.readouterr().err.removeprefix("error: ").rstrip("\n")

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(lora_run / name, like_lora_run)
    config = like_lora_run / "adapter_config.json"
    record = like_lora_run / "run.json"
    elsewhere = "recipes/none/tiny_base"
    config.write_text(config.read_text().replace(str(TINY_BASE), elsewhere))
    record.write_text(record.read_text().replace(str(TINY_BASE), elsewhere))
    assert error(like_lora_run) == (
        f"{like_lora_run}: its base model {elsewhere} is not there; put it back, or write where it is as "
        f"`base_model_name_or_path` in {config}"
    )
    smaller = AutoConfig.from_pretrained(TINY_BASE)
    smaller.hidden_size //= 2
    other = like_lora_run.parent / "smaller"
    AutoModelForCausalLM.from_config(smaller).save_pretrained(other)
    for written in (config, record):
        written.write_text(written.read_text().replace(elsewhere, str(other)))
    assert error(like_lora_run).startswith(f"{like_lora_run} does not fit its base model {other}: ")
    (like_lora_run / "complete").unlink()
    assert error(like_lora_run) == f"{like_lora_run} is not complete; the command that started the run continues it"
    shutil.copytree(lora_run / "checkpoint-1", like_lora_run / "checkpoint-1")
    assert error(like_lora_run) == f"{like_lora_run} is not complete; pass {like_lora_run / 'checkpoint-1'}"
    assert error(like_lora_run.parent) == (
        f"{like_lora_run.parent} is not a run of these recipes (there is no {like_lora_run.parent / 'run.json'}); "
        "pass the --output_dir of a run"
    )


@pytest.mark.slow
def test_a_checkpoint_of_shards_is_joined(tmp_path: Path):
    """Two processes under ZeRO-3, saved once whole and once as shards only: the exports are the same."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shards_only = tmp_path / "zero3_shards.yaml"
    zero3 = (ROOT / "accelerate_configs" / "zero3.yaml").read_text()
    shards_only.write_text(zero3.replace("zero3_save_16bit_model: true", "zero3_save_16bit_model: false"))
    settings = [*SHORT, "--learning_rate", "0.02", "--warmup_steps", "0", "--bf16", "true"]  # on any processor
    for folder, config in ((whole, "accelerate_configs/zero3.yaml"), (parts, str(shards_only))):
        command = accelerate(GRPO_MATH, *settings, "--output_dir", str(folder), num_processes=2)
        command[command.index("--config_file") + 1] = config
        finished = run_command(command)
        assert finished.returncode == 0, finished.stderr
        assert recipes("export", str(folder / "checkpoint-1")) == 0
        check_standalone(folder / "export-checkpoint-1")
    assert not list(parts.glob("checkpoint-1/*.safetensors"))
    expected = load_file(whole / "checkpoint-1" / "model.safetensors")
    for folder in (whole, parts):
        found = load_file(folder / "export-checkpoint-1" / "model.safetensors")
        assert expected.keys() == found.keys()
        assert all(expected[name].equal(found[name]) for name in expected)
    assert recipes("export", str(parts)) == 0
    last = load_file(parts / "export" / "model.safetensors")
    assert all(weight.equal(last[name]) for name, weight in load_file(whole / "model.safetensors").items())
    # The last evaluation up to step 1 is the one before training.
    assert "after 0 steps" in (parts / "export-checkpoint-1" / "README.md").read_text()

    command = ["recipes", "chat", str(parts)]
    chat = subprocess.run(command, input=QUESTION, cwd=ROOT, env=command_env(), capture_output=True, text=True, timeout=120)
    assert chat.returncode == 0, chat.stderr
    assert len(chat.stdout.splitlines()) > 1
    assert chat.stderr == ""
