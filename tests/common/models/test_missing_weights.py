"""A model of whose weights one is missing is refused: transformers would fill it with random numbers."""

import shutil
from pathlib import Path

from common.models.load import load_model, load_tokenizer

import pytest
from safetensors.torch import load_file, save_file
from trl import ModelConfig

BASE = Path(__file__).parent.parent.parent.parent / "recipes/grpo_math/lesson/tiny_base"


def test_a_missing_weight_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "base"
    shutil.copytree(BASE, folder)
    model_args = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    tokenizer = load_tokenizer(model_args)
    load_model(model_args, tokenizer)  # its output head is tied and in no file, and that is no fault

    weights = load_file(folder / "model.safetensors")
    missing = next(name for name in weights if "mlp.down_proj" in name)
    save_file(
        {name: weight for name, weight in weights.items() if name != missing}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(SystemExit, match="2"):
        load_model(model_args, tokenizer)
    assert f"{folder}: the weight {missing} is not in its files" in capsys.readouterr().err
