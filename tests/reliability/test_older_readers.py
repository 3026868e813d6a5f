"""What `recipes export` writes is the same model to transformers 4.57, on which many engines are still built, and when served.

make old-reader     # the environment in which it is read, then these tests with a table of what was found
"""

import json
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from common.commands.export import export_run
from common.data.templates import CLOCK, IS_CLOCK, reads_clock
from common.generate.settings import generation_config
from common.models.mxfp4 import from_pretrained
from common.models.saved import load_run

import openai
import pytest
import torch
from families import FAMILIES, Family, build, shipped
from forks import ROOT, Server, command_env
from mxfp4_checkpoint import write_mxfp4
from older_reader import QUESTION, read
from peft import LoraConfig, get_peft_model
from saved_model import load_whole
from served import served
from templates import load
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoProcessor,
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
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0 + 0.1 * number for number in range(8)],
    "long_factor": [2.0 + number for number in range(8)],
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, "max_position_embeddings": 32 * 4096}
TEXT = {family.name: family for family in FAMILIES}
TEXT |= {
    "Llama 3.2": Family("Llama 3.2", LlamaConfig, **shipped("llama3_2"), sizes={"rope_parameters": LLAMA_3_ROPE}),
    "Llama, tied": Family("Llama, tied", LlamaConfig, **shipped("llama3_2"), sizes={"tie_word_embeddings": True}),
    "Qwen 2.5": Family("Qwen 2.5", Qwen2Config, **shipped("qwen2_5"), sizes={"rope_parameters": {"rope_theta": 1e6}}),
    "Gemma 3": replace(TEXT["Gemma 3"], sizes=TEXT["Gemma 3"].sizes | {"rope_parameters": GEMMA_3_ROPE}),
    "gpt-oss": Family("gpt-oss", GptOssConfig, **shipped("gptoss"), sizes=EXPERTS),
    # The question is longer than the first one's original length, and shorter than the second one's.
    "Phi, long": replace(TEXT["Phi"], sizes={"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 32}),
    "Phi, short": replace(TEXT["Phi"], sizes={"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 1024}),
}
MODELS = [*TEXT, "gpt-oss, MXFP4, adapters merged", *VISION]


def save_adapter(model: PreTrainedModel, folder: Path, experts: list[str] | None = None) -> None:
    """Saves an adapter with random weights: of attention, and of experts if they are named."""
    torch.manual_seed(0)
    args = LoraConfig(r=4, init_lora_weights=False, target_modules=["o_proj"], target_parameters=experts)
    get_peft_model(model, args).save_pretrained(folder)


def write_record(folder: Path, base: Path, **settings: Any) -> None:
    """Writes what makes a run of a folder with a model or an adapter."""
    settings |= {"model_name_or_path": str(base)}
    (folder / "run.json").write_text(json.dumps({"recipe": "sft_instruct", "world_size": 1, "settings": settings}))
    (folder / "README.md").write_text("# A run\n")
    (folder / "complete").touch()


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
    # Not the 16 bits of a base in MXFP4, of which a merged adapter is rounded.
    write_record(folder, folder, dtype="float32")


def make_adapter_run(base: Path, folder: Path, **settings: Any) -> None:
    """Writes what a run of an adapter of attention leaves, on a saved model with its tokenizer or processor."""
    save_adapter(load_whole(str(base))[0], folder)
    reader = AutoProcessor if (base / "processor_config.json").exists() else AutoTokenizer
    reader.from_pretrained(base).save_pretrained(folder)
    write_record(folder, base, **settings)


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
    "Phi, long": {
        "rope_theta": 1e4,
        "original_max_position_embeddings": 32,
        "rope_scaling": {"type": "longrope", **{name: LONG_ROPE[name] for name in ("short_factor", "long_factor")}},
    },
}
ROPE |= {family: {"rope_theta": 1e4, "rope_scaling": MROPE, "tie_word_embeddings": True} for family in VISION}


QUICK = ["Llama 3.2", "Gemma 3", "gpt-oss", "Phi, long", *list(VISION)[:1]]


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ROPE])
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
    assert {key: found[key] for key in found if key != "type"} == kept

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


@pytest.mark.parametrize(("name", "said"), [("Llama 3.2", "26 Jul 2024"), ("gpt-oss", "2024-07-26")])
def test_an_export_asks_the_clock_that_its_base_model_asks(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, day = tmp_path / "run", date(2024, 7, 26)
    make_run(name, run)
    template = run / "chat_template.jinja"
    assert not reads_clock(template.read_text(encoding="utf-8"))
    export = export_run(run)
    line = f" In training its chat template named the day {said}; here it looks at the clock, as that of the base model does."
    assert capsys.readouterr().out.splitlines()[0].endswith(line)
    assert line in (export / "README.md").read_text(encoding="utf-8")
    assert (export / "chat_template.jinja").read_text(encoding="utf-8") == TEXT[name].template

    # Of a run of a version that did not keep it.
    older = CLOCK.sub(lambda found: f'"{day.strftime(found[2])}"', TEXT[name].template).replace(IS_CLOCK, "true")
    template.write_text(older, encoding="utf-8")
    export = export_run(run, tmp_path / "again")
    line = f" Its chat template names the day {said}: the run kept no other one."
    assert capsys.readouterr().out.splitlines()[0].endswith(line)
    assert (export / "chat_template.jinja").read_text(encoding="utf-8") == older


# --- Read by transformers 4.57 and 5 --------------------------------------------------------------------------------------

# Each family's model in these ways; the adapter of the last one is read by PEFT alone.
WAYS = ["all weights", "LoRA, merged", "LoRA beside 4 bits, merged", "LoRA"]
CONTINUED = 8  # tokens that a model is asked for behind `recipes serve`


def make_ways(name: str, folder: Path) -> list[tuple[Path, Path | None, dict[str, Any], str]]:
    """Makes a family's model in each way; returns what is to be read, the base of adapters, and what the trained model says."""
    folder.mkdir()
    make_run(name, folder / "run")
    whole = export_run(folder / "run")
    made = [(whole, None, *said_by(folder / "run", whole))]
    for settings in ({}, {"load_in_4bit": True}):
        run = folder / f"adapter {settings}"
        make_adapter_run(whole, run, **settings)
        made.append((export_run(run), None, *said_by(run, run, base=whole)))
    return [*made, (folder / "adapter {}", whole, *made[1][2:])]


def said_by(run: Path, source: Path, base: Path | None = None) -> tuple[dict[str, Any], str]:
    """Returns what is read of the trained model of a run, and how it goes on with the question, greedily."""
    model, processing, _ = load_run(run, device="cpu")
    tokenizer = getattr(processing, "tokenizer", processing)
    inputs = tokenizer(QUESTION, return_tensors="pt", return_token_type_ids=False)
    config = generation_config(model, tokenizer, max_new_tokens=CONTINUED)
    with torch.no_grad():
        tokens = model.eval().generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :]
    answer = tokenizer.decode(tokens, skip_special_tokens=True)
    return read(str(source), base and str(base), model), answer


def served_answer(server: Server, folder: Path) -> str:
    """Returns how the model of a folder goes on with the question behind `recipes serve`."""
    with served(server, folder) as address:
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        (model,) = client.models.list()
        return client.completions.create(model=model.id, prompt=QUESTION, max_tokens=CONTINUED).choices[0].text


def difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """Returns the largest difference of logits, relative to the largest one."""
    found, expected = (torch.tensor(answer["logits"]) for answer in (found, expected))
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.slow
def test_every_reader_finds_the_trained_model(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if not OLD_PYTHON.exists():
        pytest.skip("`make old-reader` makes the environment with transformers 4.57")
    made = [each for name in MODELS for each in make_ways(name, tmp_path / name)]
    path, elsewhere = tmp_path / "requests.json", tmp_path / "elsewhere"
    path.write_text(json.dumps([{"folder": str(folder), "base": base and str(base)} for folder, base, *_ in made]))
    elsewhere.mkdir()
    command = [OLD_PYTHON, ROOT / "tests" / "reliability" / "older_reader.py", path]
    env = command_env(PYTHONPATH="")
    finished = subprocess.run(command, cwd=elsewhere, env=env, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr

    found = []  # of each model that is read: two differences, and whether it answers alike when it is served
    for (folder, base, trained, said), answer in zip(made, read_json(path), strict=True):
        assert answer["minijinja"] == trained["text"], folder
        readings = [answer["found"], read(str(folder), base and str(base))]
        assert [reading | {"logits": None} for reading in readings] == [trained | {"logits": None}] * 2, folder
        found.append((*(difference(reading, trained) for reading in readings), served_answer(server, folder) == said))
    with capsys.disabled():
        print(f"\n| family | {' | '.join(f'{way}: 4.57 | 5 | served' for way in WAYS)} |\n|{'---|' * (1 + 3 * len(WAYS))}")
        cells = [f"{old:.1e} | {new:.1e} | {'same' if is_same else 'another'}" for old, new, is_same in found]
        for number, name in enumerate(MODELS):
            print(f"| {name} | {' | '.join(cells[len(WAYS) * number :][: len(WAYS)])} |")
    assert max(max(old, new) for old, new, _ in found) < 1e-5
    assert all(is_same for *_, is_same in found)
