"""Models on the meta device, with adapters and few layers: what decides their memory, and how many numbers they have."""

import re
from copy import deepcopy
from dataclasses import dataclass

from common.models.attention import VARLEN
from common.models.base import base_of
from common.models.families import SINK_MODELS
from common.models.vision import auto_class, is_vision_language
from common.plan.kernels import ATTENTION, GROUPED, use_fused_modules, use_gpu_dropout, use_gpu_experts

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedConfig, PreTrainedModel

SIMULATED = 3  # layers: the one in the middle is as all between the first and the last
TEXT, VISION = "text", "vision"
# Attention that reads keys shared by several queries as they are.
READS_GROUPS = ("flash_attention_2", "flash_attention_3", "flex_attention")


@dataclass(frozen=True)
class Shape:
    """What decides which bytes a pass keeps for each token.

    Attributes:
        config: The model's configuration as JSON, without what a run may change.
        lora: Settings of PEFT's `LoraConfig` as pairs of name and value; None where all weights are trained.
        recompute: Whether the layers' activations are recomputed.
        fused: Whether Liger's modules are used.
        attention: The attention implementation.
        picture_share: Share of the tokens that are those of pictures.
        frozen_vision: Whether the vision tower gets no adapters.
        width: Bytes of a number that the model computes with.
    """

    config: "Hashed"
    lora: tuple[tuple[str, object], ...] | None = None
    recompute: bool = True
    fused: bool = False
    attention: str | None = None
    picture_share: float = 0.0
    frozen_vision: bool = False
    width: int = 2


class Hashed:
    """A model's configuration that may be a key: two are equal if they say the same."""

    def __init__(self, config: PreTrainedConfig):
        self.config, self.text = config, config.to_json_string()

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self.text == other.text


@dataclass(frozen=True)
class Counts:
    """How many numbers a model has.

    Attributes:
        total: All its parameters, adapters included.
        trained: Those that are trained.
        linear: Those in linear layers other than the head, which is what is stored in 4 bits.
        largest: The largest linear layer.
        layer: The largest decoder layer.
        folded: For each layer with adapters of parameters, those parameters: the adapters are added to them anew at each pass.
        beside: For each layer of gpt-oss with adapters of its experts, how many numbers they keep for each token.
    """

    total: int
    trained: int
    linear: int
    largest: int
    layer: int
    folded: tuple[int, ...]
    beside: tuple[int, ...]


def build(shape: Shape, config: PreTrainedConfig) -> PreTrainedModel | PeftModel:
    """Returns a model on the meta device, with its adapters.

    Args:
        shape: Says what of it is trained, and with which modules.
        config: Its configuration, or a shortened one.
    """
    reads_groups = shape.attention in READS_GROUPS or (shape.attention == VARLEN and config.model_type in SINK_MODELS)
    attention = GROUPED if reads_groups else ATTENTION
    dtype = torch.float32 if shape.width == 4 else torch.bfloat16
    with torch.device("meta"):
        model = auto_class(config).from_config(config, dtype=dtype, attn_implementation=attention)
        if shape.lora is not None:
            frozen = {"exclude_modules": r".*visual\..*"} if shape.frozen_vision else {}
            # Adapters of parameters are counted apart: PEFT adds them up under an autocast that knows no meta device.
            settings = LoraConfig(**{name: value for name, value in shape.lora if name != "target_parameters"}, **frozen)
            model = get_peft_model(model, settings, autocast_adapter_dtype=False).to(dtype)
        elif shape.frozen_vision:
            model.model.visual.requires_grad_(False)
    use_gpu_dropout(model)
    use_gpu_experts(model)
    if shape.fused:
        use_fused_modules(model)
    return model


def stacks_of(model: PreTrainedModel) -> dict[str, torch.nn.ModuleList]:
    """Returns the layers of a model's decoder, and those of its vision tower."""
    stacks = {TEXT: model.get_decoder().layers}
    if is_vision_language(model.config):
        stacks[VISION] = model.model.visual.blocks
    return stacks


def _numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shortened(config: PreTrainedConfig) -> PreTrainedConfig:
    """Returns a configuration with a few layers of each kind, if a model's layers are all alike; else the whole one."""
    with torch.device("meta"):
        stacks = stacks_of(auto_class(config).from_config(config, dtype=torch.bfloat16))
    if any(len({_numbers(layer) for layer in layers}) > 1 for layers in stacks.values()):
        return config
    short = deepcopy(config)
    text = short.get_text_config()
    text.num_hidden_layers = min(SIMULATED, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    if VISION in stacks:
        short.vision_config.depth = min(SIMULATED, short.vision_config.depth)
    return short


def depths_of(config: PreTrainedConfig) -> dict[str, int]:
    """Returns how many layers each stack of a model has."""
    depths = {TEXT: config.get_text_config().num_hidden_layers}
    return depths | ({VISION: config.vision_config.depth} if is_vision_language(config) else {})


def _parameter_adapters(
    shape: Shape, config: PreTrainedConfig, layer: torch.nn.Module
) -> tuple[dict[int, int], dict[int, int], int]:
    """Returns by layer how many numbers are adapted there, and how many are kept for each token; and the adapters' numbers."""
    settings, folded, beside, adapters = dict(shape.lora or ()), {}, {}, 0
    shapes = {name: parameter.shape for name, parameter in layer.named_parameters()}
    for target in settings.get("target_parameters") or ():
        of_one = re.fullmatch(r"(?:.*\.)?(\d+)\.(.+)", target)  # layers.7.mlp.experts.gate_up_proj
        name = of_one[2] if of_one else target
        size = next((size for known, size in shapes.items() if f".{known}".endswith(f".{name}")), None)
        for place in () if size is None else [int(of_one[1])] if of_one else range(depths_of(config)[TEXT]):
            adapters += settings["r"] * size[0] * sum(size[1:])
            if config.model_type == "gpt_oss":
                beside[place] = beside.get(place, 0) + config.num_experts_per_tok * (size[1] + settings["r"])
            else:
                folded[place] = folded.get(place, 0) + size.numel()
    return folded, beside, adapters


def count_numbers(shape: Shape, config: PreTrainedConfig, short: PreTrainedConfig) -> Counts:
    """Counts the parameters of a whole model by those of a shortened one."""
    model = build(shape, short)
    base = base_of(model)
    stacks, depths = stacks_of(base), depths_of(config)
    times = dict.fromkeys(model.parameters(), 1)
    for name, layers in stacks.items():
        if depths[name] > len(layers):
            times |= {parameter: 1 + depths[name] - len(layers) for parameter in layers[1].parameters()}
    head = base.get_output_embeddings().weight
    towers = set(base.model.visual.parameters()) if VISION in stacks else set()
    linear = {
        module.weight
        for module in base.modules()
        if isinstance(module, torch.nn.Linear) and not module.weight.requires_grad and module.weight is not head
    } - towers
    folded, beside, adapters = _parameter_adapters(shape, config, stacks[TEXT][0])
    return Counts(
        total=adapters + sum(parameter.numel() * count for parameter, count in times.items()),
        trained=adapters + sum(parameter.numel() * count for parameter, count in times.items() if parameter.requires_grad),
        linear=sum(parameter.numel() * times[parameter] for parameter in linear),
        largest=max((parameter.numel() for parameter in linear), default=0),
        layer=max(_numbers(layer) for layer in stacks[TEXT]),
        folded=tuple(folded.values()),
        beside=tuple(beside.values()),
    )
