"""A training pass on the meta device: which bytes live when, for any number of tokens and layers."""

from dataclasses import dataclass
from functools import lru_cache, partial

from common.errors import brief
from common.models.base import base_of
from common.models.vision import is_vision_language
from common.models.zero3 import unsharded
from common.plan.kernels import Loss
from common.plan.ledger import Ledger, Mark
from common.plan.models import Counts, Shape, build, count_numbers, depths_of, shortened, stacks_of

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

# Passes of so many tokens are compared. Both fill a chunk of the loss: shorter rows take up to 0.25 GiB less than is said.
TOKENS = (8192, 16384)


class Unplanned(ValueError):
    """A model whose pass cannot be followed on the meta device; the text says why."""


@dataclass(frozen=True)
class Pass:
    """The backward pass of any number of tokens, step by step.

    Attributes:
        counts: Of the model.
        fixed: Live bytes that do not depend on the number of tokens, at each step.
        per_token: Live bytes for each token, at each step.
        gradients: Numbers of gradients computed so far, at each step.
        loss: Index of the step at which the loss is done.
    """

    counts: Counts
    fixed: np.ndarray
    per_token: np.ndarray
    gradients: np.ndarray
    loss: int


def _see(model: PreTrainedModel, tokens: int) -> torch.Tensor:
    """Runs the vision tower over pictures of so many tokens, as one: its attention is fused, and keeps no scores."""
    tower, config = model.model.visual, model.config.vision_config
    merged = config.spatial_merge_size**2
    size = config.patch_size**2 * config.temporal_patch_size * config.in_channels
    hidden = tower.patch_embed(torch.empty(tokens * merged, size, device="meta", dtype=model.dtype))
    head = hidden.shape[-1] // config.num_heads
    positions = tuple(torch.empty(tokens * merged, head, device="meta") for _ in range(2))
    boundaries = torch.tensor([0, tokens * merged])
    for block in tower.blocks:
        hidden = block(hidden, cu_seqlens=boundaries, position_embeddings=positions)
    return tower.merger(hidden)


def _mark_layers(model: PreTrainedModel, ledger: Ledger) -> None:
    """Has the ledger note when the backward pass of each layer begins and ends."""

    def before(module: torch.nn.Module, args: tuple, kwargs: dict, place: tuple[str, int]) -> tuple:
        if not args[0].requires_grad:
            return args, kwargs
        return (Mark.apply(args[0], ledger, (*place, "end")), *args[1:]), kwargs

    def after(module: torch.nn.Module, args: tuple, output: torch.Tensor, place: tuple[str, int]) -> torch.Tensor:
        return Mark.apply(output, ledger, (*place, "start")) if output.requires_grad else output

    for name, layers in stacks_of(model).items():
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(before, place=(name, number)), with_kwargs=True)
            layer.register_forward_hook(partial(after, place=(name, number)))


def _run(shape: Shape, config: PreTrainedConfig, tokens: int) -> tuple[np.ndarray, dict]:
    """Computes a loss and its gradients; returns the ledger's log from the loss on, and its marks."""
    model = build(shape, config)
    base = base_of(model)
    model.train()
    if shape.recompute:
        settings = {"use_reentrant": False, "preserve_rng_state": False}
        base.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    ledger = Ledger(model)
    _mark_layers(base, ledger)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(ledger.hand_on)
    with ledger:
        seen = round(tokens * shape.picture_share)
        embeddings = base.get_input_embeddings()(torch.empty(tokens - seen, dtype=torch.long, device="meta"))
        if seen:  # the embeddings of pictures stand in the place of those of their tokens
            with torch.set_grad_enabled(not shape.frozen_vision):
                pictures = _see(base, seen)
            embeddings = torch.cat([embeddings, pictures])
        if not embeddings.requires_grad:
            embeddings.requires_grad_(True)
        mask = torch.empty(1, 1, 1, 1, device="meta")  # transformers leaves what has four dimensions
        positions = torch.zeros(3, 1, 1, device="meta", dtype=torch.long).expand(3, 1, tokens)
        several = {"position_ids": positions} if is_vision_language(config) else {}
        hidden = base.get_decoder()(
            inputs_embeds=embeddings[None], attention_mask=mask, use_cache=False, **several
        ).last_hidden_state
        del embeddings
        loss = Loss.apply(hidden[0].clone(), base.get_output_embeddings().weight, ledger)
        del hidden
        start = len(ledger.log)
        loss.backward()
    marks = {name: index - start for name, index in ledger.marks.items()}
    return np.array(ledger.log[start:], dtype=float), marks


def _unrolled(log: np.ndarray, marks: dict, depths: dict[str, int], simulated: dict[str, int]) -> np.ndarray:
    """Returns the log of a model with all its layers: the backward pass of one in the middle is repeated."""
    parts, offset, position = [], np.zeros(log.shape[1]), 0
    middles = {}
    for name, count in simulated.items():
        if depths[name] > count and (name, 1, "start") in marks:
            first, last = marks[name, 1, "start"], marks[name, 1, "end"]
            change = log[last - 1] - log[first - 1]  # live bytes become fewer, gradients more
            middles[name] = (first, last, change, depths[name] - count)
            offset[:-1] -= change[:-1] * middles[name][3]
    for first, last, change, more in middles.values():  # the backward pass comes to the text first
        parts.append(log[position:first] + offset)
        for number in range(more + 1):
            parts.append(log[first:last] + offset)
            offset = offset + (change if number < more else 0)
        position = last
    return np.concatenate([*parts, log[position:] + offset])


@lru_cache(maxsize=32)
def trace(shape: Shape) -> Pass:
    """Follows the memory of a training pass.

    The same operations for two numbers of tokens tell which bytes grow with it, and those of a few layers those of all.

    Args:
        shape: What is computed.

    Returns:
        What lives at each step of the backward pass, without weights and without the gradients of weights that are done.

    Raises:
        Unplanned: For a model that computes with what its tensors hold.
    """
    config = shape.config.config
    try:
        with unsharded():  # else ZeRO-3 would share the models among all processes, and wait for them
            short = shortened(config)
            (few, marks), (many, _) = (_run(shape, short, tokens) for tokens in TOKENS)
            counts = count_numbers(shape, config, short)
    except Exception as error:  # a model's code raises whatever a tensor without content makes it stumble over
        raise Unplanned(f"{config.model_type} cannot be planned ({brief(error)})") from error
    if len(few) != len(many):
        raise Unplanned(f"{config.model_type} cannot be planned (what it computes depends on the number of tokens)")
    per_token = (many[:, 0] - few[:, 0]) / (TOKENS[1] - TOKENS[0])
    log = np.stack([few[:, 0] - per_token * TOKENS[0], per_token, few[:, 1]], axis=1)
    whole = _unrolled(log, marks, depths_of(config), depths_of(short))
    return Pass(counts, whole[:, 0], whole[:, 1], whole[:, 2], marks["loss", 0, "end"])
