"""A name that adapters are asked for and that the model does not have, or cannot train, is refused before the weights load."""

from common.models.adapters import check_lora_targets
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config

import pytest
from transformers import PreTrainedConfig, Qwen3MoeConfig
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
        ({"lora_target_modules": ["q_proj", "lm_head"]}, "adapters of the output head of llama would not be trained: "),
    ],
)
def test_what_would_not_be_trained(config: PreTrainedConfig, settings: dict, line: str, capsys: pytest.CaptureFixture[str]):
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
        {"lora_target_parameters": ["mlp.down_proj.weight"], "lora_dropout": 0.0},
        {"lora_target_modules": ["v_prj"], "use_peft": False},
    ],
)
def test_names_that_are_there(config: PreTrainedConfig, settings: dict):
    check(config, **settings)


def test_what_peft_refuses_is_said_before_the_weights_load(capsys: pytest.CaptureFixture[str]):
    """The experts of a mixture are parameters, whose adapters know no dropout; `all-linear` takes them as well."""
    small = {"hidden_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 1, "num_experts": 2, "vocab_size": 64}
    config = Qwen3MoeConfig(**small, num_experts_per_tok=1)
    settings = {"lora_target_modules": "all-linear"}
    with pytest.raises(SystemExit):
        check(config, **settings, lora_dropout=0.05)
    assert capsys.readouterr().err == (
        "error: adapters do not fit qwen3_moe: lora.ParamWrapper does not work with lora_dropout != 0; change the settings "
        "that begin with `lora_`\n"
    )
    check(config, **settings, lora_dropout=0.0)
