"""What a base model suggests in vain does not end a training at its first checkpoint."""

import json
import shutil
from pathlib import Path

from common.models.load import load_model, load_tokenizer

import pytest
from forks import ROOT
from transformers import GenerationConfig
from trl import ModelConfig

TINY_BASE = ROOT / "recipes" / "grpo_math" / "lesson" / "tiny_base"


@pytest.mark.parametrize(
    ("suggested", "taken_out"),
    [
        ({"do_sample": False, "temperature": 0.6, "top_k": 20}, "temperature 0.6, top_k 20"),
        ({"top_p": 0.6}, "top_p 0.6"),
        ({"do_sample": True, "temperature": 0.6, "top_k": 20}, None),
    ],
)
def test_what_has_no_effect_is_taken_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suggested: dict, taken_out: str | None
):
    base = Path(shutil.copytree(TINY_BASE, tmp_path / "base"))
    file = base / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | suggested))
    model_args = ModelConfig(model_name_or_path=str(base), dtype="float32")
    model = load_model(model_args, load_tokenizer(model_args))
    line = f"model_name_or_path {base}: its generation_config.json sets {taken_out}, which has no effect beside the rest; "
    assert capsys.readouterr().out == (f"{line}taken out.\n" if taken_out else "")
    model.generation_config.eos_token_id = [0, 1]  # as a trainer does: unchanged it could be saved
    model.save_pretrained(tmp_path / "saved")
    saved = GenerationConfig.from_pretrained(tmp_path / "saved")
    saved.validate(strict=True)
    if not taken_out:
        assert (saved.temperature, saved.top_k) == (0.6, 20)
