"""Weights in files are the weights; of the files nothing is left."""

from pathlib import Path

from common.models.in_files import cast_in_files, load_in_files

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, Qwen2Config, Qwen3MoeConfig

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}
CONFIGS = {
    "tied": Qwen2Config(num_key_value_heads=2, tie_word_embeddings=True, **SIZES),
    "not tied": Qwen2Config(num_key_value_heads=2, tie_word_embeddings=False, **SIZES),
    "experts": Qwen3MoeConfig(num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48, **SIZES),
}


def mapped(folder: Path) -> int:
    """Returns how many files of a folder are in the memory of this process."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_model_loaded_into_files_is_the_model(config: PreTrainedConfig, dtype: torch.dtype, tmp_path: Path):
    saved, files = tmp_path / "saved", tmp_path / "files"
    files.mkdir()
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(saved)
    expected = AutoModelForCausalLM.from_pretrained(saved, dtype=dtype)
    model = load_in_files(AutoModelForCausalLM, AutoConfig.from_pretrained(saved), str(saved), files, dtype=dtype)

    def check(model: PreTrainedModel, expected: PreTrainedModel) -> None:
        wanted, found = ({**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (expected, model))
        assert wanted.keys() == found.keys()
        assert all(wanted[name].dtype == found[name].dtype and wanted[name].equal(found[name]) for name in wanted)
        ids = torch.arange(9)[None]
        with torch.no_grad():
            assert model(input_ids=ids).logits.equal(expected(input_ids=ids).logits)
        assert (model.lm_head.weight is model.model.embed_tokens.weight) == config.tie_word_embeddings
        assert mapped(files) >= len(list(model.parameters()))
        assert list(files.iterdir()) == []

    check(model, expected)
    cast_in_files(model, torch.float32, files)
    check(model, expected.float())
    del model
    assert mapped(files) == 0
