"""Which engine answers: the recorded steps of `common.generate.engine` where they can, transformers' `generate` elsewhere."""

from functools import cache

from common.errors import say
from common.generate.adapters import PlainAdapters, unknown_adapters
from common.generate.engine import Decoded, Engine
from common.generate.next_token import not_honoured
from common.generate.slots import slot_bytes
from common.models.base import base_of
from common.models.families import ENGINE_MODELS
from common.models.zero3 import sharded_bytes

import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel

ROOM = 0.5  # share of the free memory that keys and values may take
# They are kept for the next prompts up to a share of a GPU's memory, or while all that stands in it, weights and optimizer
# included, is little of it: training needs the rest. TRL's default leaves vLLM 0.3 (`vllm_gpu_memory_utilization`).
KEPT, LITTLE = 0.05, 0.3


def unfit(model: PreTrainedModel | PeftModel, config: GenerationConfig, gathered: bool = True) -> str | None:
    """Returns why a model cannot be answered for by the engine, or None if it can.

    Args:
        model: The model, unwrapped.
        config: How is generated.
        gathered: Whether the whole model is gathered while it generates, if it is sharded by ZeRO-3.
    """
    base = base_of(model)
    settings = base.config
    rope = (getattr(settings, "rope_parameters", None) or {}).get("rope_type", "default")
    if settings.model_type not in ENGINE_MODELS:
        return f"{settings.model_type} attends in a way of its own, or was not tried"
    # Mistral has a window for all layers, the others say it of each layer.
    windowed = settings.model_type == "mistral" and settings.sliding_window
    if windowed or set(getattr(settings, "layer_types", None) or []) - {"full_attention"}:
        return f"this {settings.model_type} attends in windows"
    if rope in ("dynamic", "longrope"):
        return f"its positions are scaled by the length ({rope})"
    if getattr(base, "is_quantized", False):
        return "its weights are quantised"
    if not gathered and sharded_bytes(model):
        return "ZeRO-3 gathers its weights layer by layer"
    if isinstance(model, PeftModel) and (kind := unknown_adapters(model)):
        return f"it has {kind}"
    unknown = not_honoured(config)
    return f"it is asked for {', '.join(unknown)}" if unknown else None


def engine_fits(model: PreTrainedModel | PeftModel, accelerator: Accelerator, config: GenerationConfig, gathered: bool) -> bool:
    """Returns whether the engine answers for a model; where only the model keeps it from it, the reason is said once.

    On a CPU it does not: launching a kernel costs nothing there, and the loop gained nothing.

    Args:
        model: The model, unwrapped.
        accelerator: Knows the device and the precision.
        config: How is generated.
        gathered: See `unfit`.
    """
    if accelerator.device.type != "cuda":
        return False
    reason = unfit(model, config, gathered)
    if model.dtype == torch.float32 and accelerator.native_amp:
        reason = "its weights are in float32, and it computes in another precision"
    if reason:
        _say_why(reason)
    return reason is None


@cache
def _say_why(reason: str) -> None:
    say(f"Completions come from transformers' `generate`, which is several times slower: {reason}.")


@cache
def _say_slots(slots: int, wanted: int) -> None:
    say(f"There is room to generate {slots} completions at once, not {wanted}.")


class Decoder:
    """The engine of a model and its adapters, kept for the next prompts; made anew when these are more or longer."""

    def __init__(self, config: GenerationConfig, most_slots: int | None = None):
        """Takes no memory yet.

        Args:
            config: How is generated.
            most_slots: Completions at once; None for as many as there are, where there is room.
        """
        self.config, self.most_slots = config, most_slots
        self.engine: Engine | None = None
        self.adapters: PlainAdapters | None = None
        self.wanted = 0  # slots that the engine was to have

    def _prepare(self, base: PreTrainedModel, wanted: int, length: int) -> Engine:
        """Returns an engine for so many completions at once of this length, or for as many as there is room for."""
        if self.engine and self.wanted >= wanted and self.engine.length >= length:
            return self.engine
        self.engine, self.wanted, slots = None, wanted, wanted
        if base.device.type == "cuda":
            torch.cuda.empty_cache()  # what training has put aside counts as taken
            room = ROOM * torch.cuda.mem_get_info(base.device)[0]
            slots = max(1, min(wanted, int(room / slot_bytes(base.config, length, base.dtype))))
        if slots < wanted:
            _say_slots(slots, wanted)
        self.engine = Engine(base, self.config, slots=slots, length=length)
        return self.engine

    def __call__(
        self,
        model: PreTrainedModel | PeftModel,
        prompts: list[list[int]],
        max_new_tokens: int,
        adapters: list[str] | None = None,
        seed: int = 0,
    ) -> list[Decoded]:
        """Generates a completion for each prompt.

        Args:
            model: The model, unwrapped and whole; each time the same one.
            prompts: Tokens of each.
            max_new_tokens: Where a completion is cut.
            adapters: For each prompt the adapter that answers; None for the active one, if there are any.
            seed: Of the noise that samples.

        Returns:
            The completions in the order of the prompts.
        """
        base = base_of(model)
        wanted = min(len(prompts), self.most_slots or len(prompts))
        engine = self._prepare(base, wanted, max(map(len, prompts)) + max_new_tokens)
        if isinstance(model, PeftModel):
            done = self._with_adapters(engine, model, prompts, max_new_tokens, adapters, seed)
        else:
            done = engine(prompts, max_new_tokens, seed)
        if sharded_bytes(model):
            engine.forget_graphs()
        if base.device.type == "cuda":
            taken = engine.num_slots * slot_bytes(base.config, engine.length, base.dtype)
            there = torch.cuda.get_device_properties(base.device).total_memory
            if taken > KEPT * there and torch.cuda.memory_allocated(base.device) > LITTLE * there:
                self.engine = None
        return done

    def _with_adapters(
        self,
        engine: Engine,
        model: PeftModel,
        prompts: list[list[int]],
        max_new_tokens: int,
        adapters: list[str] | None,
        seed: int,
    ) -> list[Decoded]:
        """Generates with one adapter after the other."""
        self.adapters = self.adapters or PlainAdapters(model)
        names = adapters or [model.active_adapters[0]] * len(prompts)
        done: dict[int, Decoded] = {}
        with self.adapters.used():
            for name in dict.fromkeys(names):
                mine = [number for number, other in enumerate(names) if other == name]
                self.adapters.read(name)
                own_seed = seed + len(done) * engine.length  # no two completions have one in common
                answers = engine([prompts[number] for number in mine], max_new_tokens, own_seed)
                done |= zip(mine, answers, strict=True)
        return [done[number] for number in range(len(prompts))]
