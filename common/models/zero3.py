"""What ZeRO-3 has to be told of a model: DeepSpeed, transformers, TRL and PEFT each know a part of it.

The private names that this takes stand here alone; tests/test_private_names.py notices when one of them goes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import DeepSpeedPlugin
from peft import PeftModel
from transformers import PreTrainedModel
from transformers.integrations import deepspeed as integration


@contextmanager
def unsharded() -> Iterator[None]:
    """Lets transformers build a model whole, as if ZeRO-3 were not in use.

    Under ZeRO-3 it initialises the shards module by module on the first process, and draws other numbers than elsewhere.
    """
    if not integration.is_deepspeed_zero3_enabled():
        yield
        return
    # The settings can be set and unset, but there is no public way to ask for them.
    settings = integration._hf_deepspeed_config_weak_ref()
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration.set_hf_deepspeed_config(settings)


def keep_saved_names(model: PreTrainedModel) -> None:
    """Makes a model save its weights under the names that others read.

    transformers (5.23) undoes, when it saves, the renamings and conversions of the weights that loading took. Under ZeRO-3 it
    keeps all that might have been needed, used or not, and Qwen2-VL's language model would be saved under names that nothing
    else reads; of MXFP4 in 16 bits it keeps one that it cannot undo. There is no public way to say that none is wanted.

    Args:
        model: The model as `from_pretrained` returned it.
    """
    model._weight_conversions = None


def register(model: PreTrainedModel, adapted: bool, adapted_parameters: Iterable[str]) -> None:
    """Tells ZeRO-3, if it is in use, which weights are read outside of the module that holds them, and what to gather as one.

    Args:
        model: The model as `from_pretrained` returned it.
        adapted: Whether it gets adapters.
        adapted_parameters: The ends of the names of parameters that get an adapter each, `lora_target_parameters`.
    """
    if not integration.is_deepspeed_zero3_enabled():
        return
    import deepspeed  # takes seconds, which a run without it can do without
    from deepspeed.utils import set_z3_leaf_module, set_z3_leaf_modules

    keep_saved_names(model)
    # TRL's loss reads the output head's weight and never calls the head. DeepSpeed notices, but not when an evaluation
    # before training, which does call it, made it fetch the weight ahead: then the backward pass finds it gone.
    deepspeed.zero.register_external_parameter(model, model.get_output_embeddings().weight)
    # A decoder layer is gathered as one. DeepSpeed would gather each of its modules by itself, and spend more time in its hooks
    # than a GPU in the layer (docs/performance.md).
    if layers := getattr(model.get_decoder(), "layers", None):
        set_z3_leaf_modules(model, [type(layer) for layer in layers])
    if adapted:
        # DeepSpeed (0.19) reduces the gradients of what it gathers as one when that of its input is there. If the input needs
        # none, as that of the first layer behind a frozen embedding, it takes zeros before they are computed.
        model.enable_input_require_grads()
    # PEFT (0.21) moves a parameter with an adapter into a submodule while it computes. DeepSpeed (0.19) gathers what a
    # module held after the first step, and stops where that is gone; of a leaf module it gathers all there is below.
    ends = tuple(f".{parameter}" for parameter in adapted_parameters)  # 7.mlp is not 17.mlp
    for parameter, _ in model.named_parameters():
        if f".{parameter}".endswith(ends):
            set_z3_leaf_module(model.get_submodule(parameter.rpartition(".")[0]), True)


def keep_whole(plugin: DeepSpeedPlugin | None) -> None:
    """Lets ZeRO-3 keep weights that it has gathered until their next use: for where the whole model fits on each GPU anyway.

    What the user's own DeepSpeed settings say of it stands.

    Args:
        plugin: Accelerate's, before the model is prepared; None without DeepSpeed.
    """
    if plugin is not None and plugin.zero_stage == 3:
        settings = plugin.deepspeed_config["zero_optimization"]
        for name in ("stage3_max_live_parameters", "stage3_max_reuse_distance"):  # 1e9 each by default
            settings.setdefault(name, 10**12)


def keep_adapters_whole(model: torch.nn.Module, plugin: DeepSpeedPlugin | None) -> None:
    """Has ZeRO-3 keep LoRA's matrices whole on each GPU: they are gathered once after each step, and not before each use.

    By itself DeepSpeed keeps what has up to 100,000 numbers. What the user's own DeepSpeed settings say of it stands.

    Args:
        model: With its adapters, before it is prepared.
        plugin: Accelerate's; None without DeepSpeed.
    """
    if plugin is None or plugin.zero_stage != 3 or not isinstance(model, PeftModel):
        return
    # Under ZeRO-3 a parameter's own size is that of its shard.
    sizes = [getattr(weight, "ds_numel", weight.numel()) for name, weight in model.named_parameters() if ".lora_" in name]
    # A frozen weight of no more numbers than the largest of them is kept whole as well.
    plugin.deepspeed_config["zero_optimization"].setdefault("stage3_param_persistence_threshold", max(sizes, default=100_000))


def sharded_bytes(model: torch.nn.Module) -> int:
    """Returns how many bytes the weights that ZeRO-3 has sharded take when they are whole.

    Args:
        model: The model; weights that are not sharded count nothing.
    """
    # DeepSpeed notes the whole size on each parameter that it shards; the parameter's own size is that of the shard.
    return sum(weight.ds_numel * weight.element_size() for weight in model.parameters() if hasattr(weight, "ds_numel"))
