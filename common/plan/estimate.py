"""How much of a GPU's memory a run takes at most, part by part: DeepSpeed's states, the pass, the step, the generation."""

from dataclasses import dataclass, field

from common.generate.decode import ROOM
from common.generate.engine import LENGTH
from common.generate.requests import PREFILL_TOKENS
from common.generate.slots import slot_bytes
from common.plan.models import Counts, Hashed, Shape
from common.plan.passes import Pass, trace

import torch
from transformers import PreTrainedConfig

GIB = 2**30
BUCKET = 500_000_000  # numbers in DeepSpeed's `reduce_bucket_size`, which accelerate leaves as it is
SUB_GROUP = 1_000_000_000  # numbers that ZeRO-3 updates at once, `sub_group_size`
GATHERED = 1_000_000_000  # numbers that ZeRO-3 keeps gathered, `stage3_max_live_parameters`
GATHER_ROOM = 1.25  # of the whole model must be free for an evaluation to gather it
# Bytes a number in 4 bits: with a scale in float32 for each block of 64, and where the scales are quantised as well in 8 bits
# for each, and a float32 for each 256 of these (Dettmers et al. 2023, arXiv:2305.14314).
NF4, NESTED_NF4 = 0.5 + 4 / 64, 0.5 + 1 / 64 + 4 / (64 * 256)
# Bytes of a moment in 8 bits, with a float32 for each block of 256 (bitsandbytes, Dettmers et al. 2022, arXiv:2110.02861).
EIGHT_BITS = 1 + 4 / 256
# A kernel counts them in 31 bits (https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1785): 3.2 billion ended in
# "invalid argument" on an H200.
EIGHT_BIT_NUMBERS = 2**31 - 1
# What a GPU must have beside the tensors: CUDA itself, and what lies between them. Not measured on its own: 74.6 GiB of tensors
# (3.2B, 4 rows of 2048, no recomputation) did not fit into an H100's 79.2 GiB, and 65.9 did.
CUDA, BETWEEN = 0.6, 0.07


@dataclass(frozen=True)
class Job:
    """What is trained, and how.

    Attributes:
        config: The model's configuration.
        tokens: Of a micro-batch on one GPU, padding included: rows x their length.
        zero_stage: 1 to 3.
        num_processes: GPUs, one a process.
        gradient_accumulation_steps: Micro-batches for an update.
        offload_optimizer: Whether the optimizer is in the host's memory.
        offload_param: Whether the weights are there, too (ZeRO-3).
        lora: Settings of PEFT's `LoraConfig`; None where all weights are trained.
        load_in_4bit: Whether the frozen linear layers are in NF4.
        nested: Whether the scales of their blocks are quantised as well.
        recompute: Whether activations are recomputed.
        fused: Whether Liger's modules are used.
        attention: The attention implementation.
        picture_share: Share of the tokens that are those of pictures.
        frozen_vision: Whether the vision tower gets no adapters.
        width: Bytes of a number that the model computes with: 2 or 4.
        completions: Generated at once for training (GRPO); 0 for none.
        completion_length: Of the longest prompt with its completion, in tokens.
        reference: Whether a second copy of the weights is kept (GRPO with `beta` above 0, without adapters).
        eight_bits: Whether the optimizer keeps its moments in 8 bits.
    """

    config: PreTrainedConfig
    tokens: int
    zero_stage: int = 2
    num_processes: int = 1
    gradient_accumulation_steps: int = 1
    offload_optimizer: bool = False
    offload_param: bool = False
    lora: dict[str, object] | None = None
    load_in_4bit: bool = False
    nested: bool = False
    recompute: bool = True
    fused: bool = False
    attention: str | None = "varlen"
    picture_share: float = 0.0
    frozen_vision: bool = False
    width: int = 2
    completions: int = 0
    completion_length: int = 0
    reference: bool = False
    eight_bits: bool = False


@dataclass(frozen=True)
class Plan:
    """The memory of a job on one GPU.

    Attributes:
        parts: For each phase (`pass`, `optimizer step`, `generation`, `evaluation`) the GiB of each part when it takes most.
        counts: How many numbers the model has.
    """

    parts: dict[str, dict[str, float]]
    counts: Counts = field(repr=False)

    @property
    def phase(self) -> str:
        """The phase that takes most."""
        return max(self.parts, key=lambda phase: sum(self.parts[phase].values()))

    @property
    def peak(self) -> float:
        """GiB of tensors at most, as `torch.cuda.max_memory_allocated` counts them."""
        return sum(self.parts[self.phase].values())

    @property
    def needed(self) -> float:
        """GiB that the GPU must have."""
        return self.peak * (1 + BETWEEN) + CUDA

    @property
    def gib(self) -> dict[str, float]:
        """The parts of the phase that takes most, with `peak` and `needed`, rounded."""
        rounded = {name: round(value, 2) for name, value in self.parts[self.phase].items() if value >= 0.005}
        return rounded | {"peak": round(self.peak, 2), "needed": round(self.needed, 2)}


def shape_of(job: Job) -> Shape:
    """Returns what decides the memory of a pass for each token; jobs that differ in the rest have it in common."""
    return Shape(
        config=Hashed(job.config),
        lora=None if job.lora is None else tuple(sorted((name, _frozen(value)) for name, value in job.lora.items())),
        recompute=job.recompute,
        fused=job.fused,
        attention=job.attention,
        picture_share=round(job.picture_share, 2),
        frozen_vision=job.frozen_vision,
        width=job.width,
    )


def too_many_for_eight_bits(job: Job, counts: Counts) -> bool:
    """Returns whether a process's weights are updated as one tensor that an optimizer in 8 bits cannot count."""
    return job.zero_stage < 3 and counts.trained // job.num_processes > EIGHT_BIT_NUMBERS


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _states(job: Job, counts: Counts) -> dict[str, float]:
    """Returns the bytes that stay from step to step."""
    linear = (NESTED_NF4 if job.nested else NF4) if job.load_in_4bit else job.width
    weights = (counts.total - counts.linear) * job.width + counts.linear * linear
    shares = job.num_processes if job.zero_stage == 3 else 1
    states = {"weights": 0 if job.offload_param else weights / shares}
    if job.reference:
        states["reference model"] = weights / shares
    # A float32 copy and two moments: in 8 bits with the scales of their blocks.
    width = 4 + 2 * (EIGHT_BITS if job.eight_bits else 4)
    states["optimizer"] = 0 if job.offload_optimizer else width * counts.trained / job.num_processes
    if job.zero_stage == 3:  # what the gradients are put into is there from the start
        states["gradients"] = 0 if job.offload_optimizer else job.width * counts.trained / job.num_processes
        states["buckets"] = job.width * BUCKET
    return states


def _pass(job: Job, passed: Pass) -> dict[str, float]:
    """Returns the bytes of a forward and backward pass beside the states, when they are most."""
    counts, mine = passed.counts, job.width * passed.counts.trained / job.num_processes
    live = passed.fixed + passed.per_token * job.tokens
    if job.zero_stage == 3:
        gradients = 0 * live
    elif job.zero_stage == 2:
        # They are put into their place with the first full bucket; earlier micro-batches' are there already.
        earlier = mine if job.gradient_accumulation_steps > 1 else 0
        gradients = (earlier + mine * (passed.gradients > BUCKET)) * (not job.offload_optimizer)
    elif job.gradient_accumulation_steps > 1:
        gradients = job.width * counts.trained + 0 * live
    else:
        gradients = job.width * passed.gradients
    step = int((live + gradients).argmax())
    logits = max(0.0, live[step] - live[0]) if step <= passed.loss else 0.0
    parts = {"logits": logits, "activations": live[step] - logits, "gradients": gradients[step]}
    at_once = max if job.recompute else sum  # of all layers
    folded, beside = (0, *counts.folded), (0, *counts.beside)  # of the folded ones the sums with the adapters, and a gradient
    parts["adapted experts"] = job.width * (at_once(folded) + max(folded) + job.tokens * at_once(beside))
    if job.load_in_4bit:
        parts["a layer in 16 bits"] = 2 * counts.largest
    if job.zero_stage == 3 and (job.num_processes > 1 or job.offload_param):  # one process that holds all gathers nothing
        parts["gathered layers"] = job.width * min(counts.total, max(GATHERED, counts.layer))
    if job.zero_stage < 3:
        parts["buckets"] = job.width * BUCKET
    return parts


def _step(job: Job, counts: Counts) -> dict[str, float]:
    """Returns the bytes of DeepSpeed's optimizer step beside the states: gradients flattened, and once more in float32."""
    if job.offload_optimizer:
        return {}
    mine = counts.trained / job.num_processes
    updated = min(mine, SUB_GROUP) if job.zero_stage == 3 else mine
    parts = {"optimizer step": updated * (job.width + (4 if job.width == 2 else 0))}
    if job.zero_stage < 3:
        parts["gradients"] = job.width * mine
    return parts


def _generation(job: Job, counts: Counts, taken: float, gpu_memory: float | None) -> dict[str, float]:
    """Returns the bytes of generating completions beside the states.

    Args:
        job: The job.
        counts: Of its model.
        taken: Bytes of the states.
        gpu_memory: GiB of the GPU, of which the keys and values take a share at most.
    """
    text = job.config.get_text_config()
    parts, whole = {}, job.width * counts.total
    if job.zero_stage == 3 and (job.num_processes > 1 or job.offload_param):
        parts["gathered layers"] = whole
    length = -(-job.completion_length // LENGTH) * LENGTH
    dtype = torch.float32 if job.width == 4 else torch.bfloat16
    one = slot_bytes(text, length, dtype)
    read = min(PREFILL_TOKENS, job.completions * job.completion_length)
    parts["reading prompts"] = read * (
        slot_bytes(text, 1, dtype) + job.width * (3 * text.intermediate_size + 4 * text.hidden_size)
    )
    cache = job.completions * one
    if gpu_memory is not None:
        free = gpu_memory * GIB - taken - sum(parts.values())
        cache = max(one, min(cache, ROOM * free))
    parts["generation cache"] = cache
    parts["logits"] = cache / one * text.vocab_size * (job.width + 4)
    return parts


def estimate(job: Job, gpu_memory: float | None = None) -> Plan:
    """Says how much of each GPU's memory a job takes, from the configuration of its model alone.

    Args:
        job: What is trained, and how.
        gpu_memory: GiB of a GPU. Where it is known, no more completions are generated at once than it has room for, and the
            whole model is gathered for evaluations under ZeRO-3 if it has room for that.

    Returns:
        The memory of each phase.
    """
    passed = trace(shape_of(job))
    states = _states(job, passed.counts)
    phases = {"pass": _pass(job, passed), "optimizer step": _step(job, passed.counts)}
    if job.completions:
        phases["generation"] = _generation(job, passed.counts, sum(states.values()), gpu_memory)
    elif gpu_memory is not None and job.zero_stage == 3 and (job.num_processes > 1 or job.offload_param):
        whole = job.width * passed.counts.total
        if GATHER_ROOM * whole <= gpu_memory * GIB - sum(states.values()):
            phases["evaluation"] = {"gathered layers": whole}
    parts = {
        phase: {name: float(states.get(name, 0) + more.get(name, 0)) / GIB for name in dict.fromkeys((*states, *more))}
        for phase, more in phases.items()
    }
    return Plan(parts, passed.counts)
