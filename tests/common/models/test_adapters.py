"""A name that adapters are asked for and that the model does not have is refused before the weights load."""

from common.models.adapters import check_lora_targets
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config

import pytest
from transformers import PreTrainedConfig
from trl import ModelConfig


@pytest.fixture(scope="module")
def config() -> PreTrainedConfig:
    return tiny_config("llama", load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), ["one two three"]))


def check(config: PreTrainedConfig, **settings) -> None:
    args = ModelConfig(model_name_or_path="tiny:llama", use_peft=settings.pop("use_peft", True))
    for name, value in settings.items():
        setattr(args, name, value)
    check_lora_targets(args, config)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"lora_target_modules": ["q_proj", "v_prj"]}, "lora_target_modules: llama has no `v_prj`; did you mean `v_proj`?"),
        ({"lora_target_modules": "h[.].*query"}, "lora_target_modules h[.].*query: no module of llama has a name that matches"),
        ({"lora_modules_to_save": ["lm_haed"]}, "lora_modules_to_save: llama has no `lm_haed`; did you mean `lm_head`?"),
        (
            {"lora_target_parameters": ["mlp.experts.down_proj"]},
            "lora_target_parameters: llama has no `mlp.experts.down_proj`",
        ),
    ],
)
def test_a_name_that_matches_nothing(config: PreTrainedConfig, settings: dict, line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        check(config, **settings)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_target_modules": ["q_proj", "mlp.down_proj"]},
        {"lora_target_modules": r".*\.self_attn\.[qv]_proj"},
        {"lora_target_modules": "all-linear", "lora_modules_to_save": ["lm_head"]},
        {"lora_target_parameters": ["mlp.down_proj.weight"]},
        {"lora_target_modules": ["v_prj"], "use_peft": False},
    ],
)
def test_names_that_are_there(config: PreTrainedConfig, settings: dict):
    check(config, **settings)
