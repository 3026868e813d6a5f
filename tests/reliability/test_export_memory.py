"""What `recipes export` takes of the memory: about its largest weights, not the model; and what it asks for is enough.

    python -m pytest tests/reliability/test_export_memory.py -m "slow or not slow" -s    # prints the peaks

Memory is what the system cannot take back (RssAnon): pages of files, in which the weights are, it drops when memory is short.
"""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.commands.main import main

import pytest
import torch
from forks import BIN, Server
from peft import LoraConfig, get_peft_model
from templates import SHIPPED, save_tokenizer
from transformers import AutoModelForCausalLM, GptOssConfig, LlamaConfig, Qwen3MoeConfig

SIZES = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "initializer_range": 0.05,
}
EXPERTS = {"num_hidden_layers": 6, "moe_intermediate_size": 768, "num_experts": 16, "num_experts_per_tok": 2}
ADAPTED_EXPERTS = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
GPT_OSS = {"num_hidden_layers": 6, "intermediate_size": 768, "num_local_experts": 16, "num_experts_per_tok": 2, "head_dim": 64}
ALL = {"target_modules": "all-linear"}
# Of each kind: what of the model differs from a Llama of 16 layers, its adapter, the settings of the run, and the most that its
# export may take, in bytes a parameter; with all weights in the memory it was 4.6, with MoE 5.4.
KINDS = {
    "few layers, adapter, float32": ({"num_hidden_layers": 4}, ALL, {"dtype": "float32"}, 2.5),
    "whole": ({}, None, {}, 1),
    "adapter": ({}, ALL, {}, 1),
    "adapter, float32": ({}, ALL, {"dtype": "float32"}, 1),
    "adapted experts": (EXPERTS, ADAPTED_EXPERTS, {}, 2),
    "gpt-oss, adapted experts": (GPT_OSS, ADAPTED_EXPERTS, {}, 2),
    "DoRA": ({}, ALL | {"use_dora": True}, {"use_dora": True}, 7.5),
    "4 bits": ({}, ALL, {"load_in_4bit": True}, 2.5),
}
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in list(KINDS)[1:]]


def anonymous(pid: int) -> int:
    """Returns the bytes of a process's memory that are in no file; 0 once it has ended."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def make_run(folder: Path, sizes: dict[str, Any], adapter: dict[str, Any] | None, settings: dict[str, Any]) -> tuple[Path, int]:
    """Writes a run with random weights, in bfloat16; returns its folder and how many parameters its model has."""
    base, run = folder / "base", folder / "run"
    tokenizer = save_tokenizer(base)
    (base / "chat_template.jinja").write_text(SHIPPED["qwen3"], encoding="utf-8")
    torch.manual_seed(0)
    kinds = {"num_experts": Qwen3MoeConfig, "num_local_experts": GptOssConfig}
    config = next((kinds[name] for name in kinds if name in sizes), LlamaConfig)(vocab_size=8000, **SIZES | sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    count = model.num_parameters()
    model.save_pretrained(base)
    run = base
    if adapter:
        run = folder / "run"
        model.name_or_path = str(base)
        get_peft_model(model, LoraConfig(r=8, init_lora_weights=False, **adapter)).save_pretrained(run)
        tokenizer.chat_template = SHIPPED["qwen3"]
        tokenizer.save_pretrained(run)
    record = {"recipe": "sft_instruct", "world_size": 1, "settings": {"model_name_or_path": str(base)} | settings}
    (run / "run.json").write_text(json.dumps(record))
    (run / "README.md").write_text("# A run\n")
    (run / "complete").touch()
    return run, count


@pytest.mark.filterwarnings("ignore:.*:UserWarning:peft")
@pytest.mark.parametrize("kind", [next(iter(KINDS)), *SLOW])
def test_an_export_takes_what_it_asks_for_at_most(
    kind: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    *made_of, limit = KINDS[kind]
    run, count = make_run(tmp_path, *made_of)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=0))
    with pytest.raises(SystemExit):
        main(["export", str(run)])
    asked = float(re.search(r"needs ([\d.e+]+) GB of memory", capsys.readouterr().err)[1]) * 1e9

    server.ask(wait=[], timeout=0)  # until it has imported everything
    before, peak = anonymous(server.process.pid), 0
    started = server.start(str(BIN / "recipes"), "export", str(run), launched=False)
    while server.ask(wait=started.pids, timeout=0) == [None]:
        peak = max(peak, anonymous(started.pids[0]) - before)
        time.sleep(0.002)
    assert started.wait() == [0], started.text()
    with capsys.disabled():
        print(f"\n{kind:<30} {count / 1e6:.0f} M parameters: {peak / 1e6:.0f} MB, asked for {asked / 1e6:.0f}")
    assert peak < asked
    assert peak < limit * count
