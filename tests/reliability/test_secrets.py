"""What a run must not give away, and what it must not take from others: tokens, paths, permissions, and code."""

import json
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import Setting, recipes, write_configs
from forks import ROOT, Run, Server
from machines import start_on

TOKEN, KEY = "hf_Tx9SECRETSECRETSECRET", "5ec7e7" + "0123456789abcdef0123456789abcdef01"
SECRETS = {"HF_TOKEN": "hf_of_the_environment_SECRET", "WANDB_API_KEY": KEY}
SFT, GRPO = Setting("sft_instruct", 0, 1), Setting("grpo_math", 3, 1)
SHORT = ("--max_steps", "2")
ADAPTER = ("--use_peft", "true", "--lora_target_modules", "all-linear")
CHAT = "common/commands/chat.py"


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
    return folder


def finish(run: Run) -> str:
    assert not any(run.wait()), run.text()
    return run.text()


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yields what every file holds, as it is and, of archives such as torch's, each part unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, str(path).encode() + path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as parts:
                    yield from ((path / name, parts.read(name)) for name in parts.namelist())


def start_with_secrets(server: Server, folder: Path, setting: Setting, configs: Path) -> Run:
    """Runs with tokens in the flags and in the environment, and a tracker that writes into the folder."""
    command = [*setting.command(folder / "run", configs), *SHORT, "--hub_token", TOKEN, "--report_to", "wandb"]
    return server.start(*command, launched=False, WANDB_MODE="offline", WANDB_DIR=str(folder), **SECRETS)


def check_secrets(folder: Path, text: str) -> None:
    secrets = [TOKEN, *SECRETS.values()]
    assert list(folder.rglob("*.wandb")), "the tracker has written"
    found = {(str(path), secret) for path, content in contents(folder) for secret in secrets if secret.encode() in content}
    assert found == set()
    assert [secret for secret in secrets if secret in text] == []


@pytest.fixture(scope="module")
def whole(server: Server, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with secrets; a folder that holds `run` and `wandb`."""
    folder = tmp_path_factory.mktemp("whole")
    run = start_with_secrets(server, folder, SFT, configs)
    (folder / "printed").write_text(finish(run))
    return folder


# --- What is given away -------------------------------------------------------------------------------------------------


def test_tokens_are_in_no_file_and_nothing_printed(whole: Path):
    check_secrets(whole, (whole / "printed").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_no_recipe_writes_tokens_down(server: Server, configs: Path, tmp_path: Path, recipe: str):
    text = finish(start_with_secrets(server, tmp_path, Setting(recipe, 2, 1), configs))
    check_secrets(tmp_path, text)


@pytest.mark.parametrize("script", ["train.py", "train_accelerate.py", "evaluate.py"])
def test_a_mistake_beside_a_token_does_not_show_it(server: Server, tmp_path: Path, script: str):
    command = [f"recipes/sft_instruct/{script}", f"--hub_token={TOKEN}", "--max_length", "-1"]
    run = server.start(*command, "--output_dir", str(tmp_path / "run"), launched=False)
    assert run.wait() == [2], run.text()
    assert TOKEN not in run.text()


@pytest.fixture(scope="module")
def adapter(server: Server, configs: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters on a base model named by a path from where the training starts; a token in the yaml, and a strict umask."""
    folder = tmp_path_factory.mktemp("adapter")
    yaml = folder / "my.yaml"
    yaml.write_text((ROOT / "recipes/sft_instruct/tiny.yaml").read_text() + f"\nhub_token: {TOKEN}\n")
    command = [*SFT.command(folder / "run", configs), *SHORT, *ADAPTER, "--model_name_or_path", "run", "--config", str(yaml)]
    (folder / "printed").write_text(
        finish(start_on(server, "import os; os.umask(0o027)", *command, launched=False, folders=[whole]))
    )
    return folder


def test_a_token_in_a_configuration_is_not_written_down(adapter: Path):
    assert {path for path, content in contents(adapter / "run") if TOKEN.encode() in content} == set()
    assert TOKEN not in (adapter / "printed").read_text()


def test_everything_saved_can_be_read_as_the_umask_says(whole: Path, adapter: Path):
    for path in (whole / "run").rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, path
    weights = list((adapter / "run").rglob("adapter_model.safetensors"))
    assert [oct(stat.S_IMODE(path.stat().st_mode)) for path in weights] == ["0o640"] * 2


def test_an_adapter_loads_from_anywhere_and_its_card_names_no_path(server: Server, whole: Path, adapter: Path, tmp_path: Path):
    folders = [adapter / "run", adapter / "run/checkpoint-2"]
    for folder in folders:
        for path in folder.iterdir():  # what others are given with a model
            if path.name in ("README.md", "config.json", "tokenizer_config.json", "generation_config.json"):
                assert [part for part in (str(adapter), str(whole), str(ROOT)) if part in path.read_text()] == [], path
    (tmp_path / "load.py").write_text(
        "import sys\nfrom peft import AutoPeftModelForCausalLM\n"
        "for folder in sys.argv[1:]:\n    AutoPeftModelForCausalLM.from_pretrained(folder)\n"
    )
    load = [str(tmp_path / "load.py"), *map(str, folders)]
    finish(server.start(*load, launched=False, folders=[tmp_path]))


@pytest.mark.slow
def test_an_export_names_no_path_and_can_be_read(server: Server, configs: Path, tmp_path: Path):
    """Of adapters on the base model that the recipe names by its own place."""
    finish(server.start(*GRPO.command(tmp_path / "run", configs), *SHORT, *ADAPTER))
    (tmp_path / "export.py").write_text("import sys\nfrom common.commands.main import main\nmain(['export', *sys.argv[1:]])\n")
    for folder, name in (("run", "export"), ("run/checkpoint-2", "export-checkpoint-2")):
        finish(server.start(str(tmp_path / "export.py"), str(tmp_path / folder), launched=False))
        for path, content in contents(tmp_path / "run" / name):
            assert str(ROOT).encode() not in content, path
            assert str(tmp_path).encode() not in content.removeprefix(str(path).encode()), path
        assert stat.S_IMODE((tmp_path / "run" / name / "model.safetensors").stat().st_mode) == 0o644
    assert str(ROOT) not in (tmp_path / "run/README.md").read_text()


# --- What is taken ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded(server: Server, configs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has saved nothing but ZeRO's shards, as `stage3_gather_16bit_weights_on_model_save: false` asks."""
    folder = tmp_path_factory.mktemp("sharded")
    config = json.loads((configs / "zero3.json").read_text())
    config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = False
    (folder / "zero3.json").write_text(json.dumps(config))
    finish(server.start(*Setting("sft_instruct", 3, 1).command(folder / "run", folder), *SHORT))
    assert not list((folder / "run").rglob("*.safetensors"))
    return folder / "run"


def make_bomb(server: Server, path: Path) -> Path:
    """Writes a pickle that touches a file beside it when it is read."""
    mark = path.with_name("the bomb went off")
    script = path.with_name("make_bomb.py")
    script.write_text(
        "import os, sys, torch\n"
        "class Bomb:\n    def __reduce__(self):\n        return os.system, (f\"touch '{sys.argv[2]}'\",)\n"
        "torch.save({'module': Bomb(), 'ds_config': Bomb()}, sys.argv[1])\n"
    )
    finish(server.start(str(script), str(path), str(mark), launched=False))
    script.unlink()
    return mark


@pytest.mark.slow
def test_shards_are_read_and_run_no_code(server: Server, sharded: Path, tmp_path: Path):
    finish(server.start(CHAT, str(sharded / "checkpoint-2"), launched=False))
    finish(server.start(CHAT, str(sharded), launched=False))
    for pattern in ("*_optim_states.pt", "*_model_states.pt"):
        shutil.copytree(sharded, tmp_path / pattern)
        mark = make_bomb(server, next((tmp_path / pattern / "checkpoint-2").glob(f"*/{pattern}")))
        run = server.start(CHAT, str(tmp_path / pattern / "checkpoint-2"), launched=False)
        assert run.wait() == [2], run.text()
        assert "its ZeRO shards hold more than weights and numbers" in run.text()
        assert not mark.exists()


def test_of_a_checkpoint_with_whole_weights_no_pickle_is_read(server: Server, configs: Path, whole: Path, tmp_path: Path):
    run = Path(shutil.copytree(whole / "run", tmp_path / "run"))
    marks = [
        make_bomb(server, run / "checkpoint-2" / name) for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin")
    ]
    finish(server.start(CHAT, str(run / "checkpoint-2"), launched=False))
    for path in run.rglob("*.safetensors"):
        path.unlink()
    for folder in (run, run / "checkpoint-2"):
        refused = server.start(CHAT, str(folder), launched=False)
        assert refused.wait() == [2], refused.text()
        assert f"error: {folder} holds no weights in safetensors (" in refused.text()
    assert "(pytorch_model.bin, a pickle, which could run code when it is read)" in refused.text()
    assert not any(mark.exists() for mark in marks)


def test_nothing_that_a_run_brings_along_is_executed(server: Server, whole: Path, tmp_path: Path):
    """Also if whoever talks to it begins with `y`, which transformers would take for a yes to its question."""
    run, mark = Path(shutil.copytree(whole / "run", tmp_path / "run")), tmp_path / "executed"
    (run / "own.py").write_text(
        f"open({str(mark)!r}, 'w')\nfrom transformers import PreTrainedConfig as C, LlamaForCausalLM as M\n"
    )
    config = json.loads((run / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (run / "config.json").write_text(json.dumps(config))
    answers = "import io, sys; sys.stdin = io.StringIO('y\\n' * 9)"
    for command in ([CHAT, str(run)], ["recipes/sft_instruct/evaluate.py", "--model_name_or_path", str(run)]):
        refused = start_on(server, answers, *command, launched=False)
        assert refused.wait() == [2], refused.text()
        assert "cannot be loaded" in refused.text()
        assert not mark.exists()
