"""What `recipes export` writes is the same model to transformers 4.57, on which many engines are still built.

make old-reader     # the environment in which it is read, then these tests with a table of what was found
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.commands.export import export_run
from common.models.mxfp4 import from_pretrained

import pytest
import torch
from families import FAMILIES, Family, build, shipped
from forks import ROOT, command_env
from mxfp4_checkpoint import write_mxfp4
from older_reader import QUESTION, read
from peft import LoraConfig, get_peft_model
from saved_model import load_whole
from templates import load
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GptOssConfig,
    LlamaConfig,
    PreTrainedModel,
    Qwen2Config,
)
from vision_families import FAMILIES as VISION
from vision_families import save_vision_model

OLD_PYTHON = ROOT / ".venv-old" / "bin" / "python"
LLAMA_3_SCALING = {  # as Llama 3.2 has it, for rows of a hundred tokens
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LLAMA_3_ROPE = LLAMA_3_SCALING | {"rope_theta": 5e5}
GEMMA_3_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 2e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, "max_position_embeddings": 32 * 4096}
TEXT = {family.name: family for family in FAMILIES}
TEXT |= {
    "Llama 3.2": Family("Llama 3.2", LlamaConfig, **shipped("llama3_2"), sizes={"rope_parameters": LLAMA_3_ROPE}),
    "Llama, tied": Family("Llama, tied", LlamaConfig, **shipped("llama3_2"), sizes={"tie_word_embeddings": True}),
    "Qwen 2.5": Family("Qwen 2.5", Qwen2Config, **shipped("qwen2_5"), sizes={"rope_parameters": {"rope_theta": 1e6}}),
    "Gemma 3": replace(TEXT["Gemma 3"], sizes=TEXT["Gemma 3"].sizes | {"rope_parameters": GEMMA_3_ROPE}),
    "gpt-oss": Family("gpt-oss", GptOssConfig, **shipped("gptoss"), sizes=EXPERTS),
}
MODELS = [*TEXT, "gpt-oss, MXFP4, adapters merged", *VISION]


def save_adapter(model: PreTrainedModel, folder: Path, experts: list[str] | None = None) -> None:
    """Saves an adapter with random weights: of attention, and of experts if they are named."""
    torch.manual_seed(0)
    args = LoraConfig(r=4, init_lora_weights=False, target_modules=["o_proj"], target_parameters=experts)
    get_peft_model(model, args).save_pretrained(folder)


def make_run(name: str, folder: Path) -> None:
    """Writes what a run of a family leaves: its model, or adapters on one in MXFP4, with random weights, and its record."""
    if name in TEXT:
        build(TEXT[name], folder)
        load(folder, TEXT[name].template).save_pretrained(folder)
    elif name in VISION:
        save_vision_model(name, folder)
    else:
        base = folder.with_name("base")
        write_mxfp4(base, [QUESTION])
        model = from_pretrained(AutoModelForCausalLM, AutoConfig.from_pretrained(base), str(base))
        save_adapter(model, folder, experts=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    record = {"recipe": "sft_instruct", "world_size": 1, "settings": {"model_name_or_path": str(folder)}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "README.md").write_text("# A run\n")
    (folder / "complete").touch()


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
MROPE = {"rope_type": "default", "mrope_section": [2, 2, 2]}
# In the words of transformers 4.
ROPE = {
    "Llama 3.2": {"rope_theta": 5e5, "rope_scaling": LLAMA_3_SCALING},
    "Qwen 2.5": {"rope_theta": 1e6, "rope_scaling": None},
    "Qwen 3": {"rope_theta": 1e4, "rope_scaling": None},
    "Qwen 3, experts": {"rope_theta": 1e4, "rope_scaling": None, "num_experts": 4},
    "Gemma 3": {"rope_theta": 2e6, "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_local_base_freq": 500.0},
    "gpt-oss": {"rope_theta": 150000.0, "rope_scaling": YARN},
}
ROPE |= {family: {"rope_theta": 1e4, "rope_scaling": MROPE, "tie_word_embeddings": True} for family in VISION}


@pytest.mark.parametrize("name", ROPE)
def test_an_export_has_the_older_names_too(name: str, tmp_path: Path):
    run = tmp_path / "run"
    make_run(name, run)
    export = export_run(run)
    config = read_json(export / "config.json")
    assert config["torch_dtype"] == config["dtype"] == "float32"
    of_text = config["text_config"] if name in VISION else config
    assert {key: of_text[key] for key in ROPE[name]} == ROPE[name]
    # And this transformers reads the same of both names, or the export's own comparison of logits had failed.
    kept, found = (AutoConfig.from_pretrained(folder).get_text_config().rope_parameters for folder in (run, export))
    assert found == kept

    tokenizer, saved = read_json(export / "tokenizer_config.json"), read_json(run / "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] in ("PreTrainedTokenizerFast", "Qwen2Tokenizer")
    assert "extra_special_tokens" not in tokenizer
    assert tokenizer["chat_template"] == (export / "chat_template.jinja").read_text(encoding="utf-8")
    assert tokenizer["additional_special_tokens"] == saved["extra_special_tokens"]
    assert AutoTokenizer.from_pretrained(export).all_special_tokens == AutoTokenizer.from_pretrained(run).all_special_tokens

    if name in VISION:
        processor = read_json(export / "processor_config.json")
        pictures, videos = (read_json(export / f"{kind}preprocessor_config.json") for kind in ("", "video_"))
        assert pictures == processor["image_processor"] | {"processor_class": processor["processor_class"]}
        assert videos == processor["video_processor"] | {"processor_class": processor["processor_class"]}


# --- Read by transformers 4.57 --------------------------------------------------------------------------------------------


def difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """Returns the largest difference of logits, relative to the largest one."""
    found, expected = (torch.tensor(answer["logits"]) for answer in (found, expected))
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.slow
def test_transformers_4_reads_the_same_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if not OLD_PYTHON.exists():
        pytest.skip("`make old-reader` makes the environment with transformers 4.57")
    requests = []
    for name in MODELS:
        make_run(name, tmp_path / name)
        export, adapter = export_run(tmp_path / name), tmp_path / f"adapter of {name}"
        save_adapter(load_whole(str(export))[0], adapter)
        requests += [{"folder": str(export), "base": None}, {"folder": str(adapter), "base": str(export)}]
    path = tmp_path / "requests.json"
    path.write_text(json.dumps(requests))
    command = [OLD_PYTHON, ROOT / "tests" / "reliability" / "older_reader.py", path]
    env = command_env(PYTHONPATH="")
    finished = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr

    differences = []
    for answer in read_json(path):
        expected = read(answer["folder"], answer["base"])
        assert answer["found"] | {"logits": None} == expected | {"logits": None}, answer["folder"]
        assert expected["wrong"] == {}
        assert answer["minijinja"] == expected["text"], answer["folder"]
        differences.append(difference(answer["found"], expected))
    with capsys.disabled():
        print("\n| family | export | adapter |\n|---|---|---|")
        for name, export, adapter in zip(MODELS, differences[::2], differences[1::2], strict=True):
            print(f"| {name} | {export:.1e} | {adapter:.1e} |")
    assert max(differences) < 1e-5
