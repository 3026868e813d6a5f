"""A GPU's memory: a run that will not fit is told before it loads, and one that has run out of it what to do."""

import os
import re
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from common.errors import brief, fail, is_main_process, say, tell_launcher
from common.run.launch import describe_zero

import torch
from transformers import TrainingArguments
from trl import ModelConfig

if TYPE_CHECKING:
    from common.plan.estimate import Job, Plan

# In whose frames memory ran out, the first that is found from the innermost on; other places are the forward pass.
PHASES = {
    "generating completions": r"common/generate/|transformers/generation/",
    "the optimizer step": r"deepspeed/runtime/zero/.*:(step|_optimizer_step|unscale_and_clip_grads)$|torch/optim/.*:step$",
    "the backward pass": r":backward$",
    "evaluating": r":evaluate$|:evaluation_loop$",
    "the forward pass": r":training_step$|:compute_loss$",
    "loading the model": r":load_model$|:from_pretrained$",
}
LOST = r"Connection (closed|reset) by (remote )?peer|Broken pipe|remote process exited"


def gpu_gib() -> float | None:
    """Returns the GiB of this process's GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    device = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    return torch.cuda.get_device_properties(device).total_memory / 2**30


def _launch(args: TrainingArguments) -> dict | None:
    """Returns of the job what DeepSpeed was told; None without it, which is not planned."""
    if args.deepspeed_plugin is None:
        return None
    zero = args.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
    if zero.get("stage", 0) not in (1, 2, 3):
        return None
    return describe_zero(zero) | {"num_processes": args.world_size}


def _planned(args: TrainingArguments, model_args: ModelConfig, memory: float | None) -> tuple["Job", "Plan"] | None:
    """Returns what is planned, and what it needs; None where it is not planned."""
    launch = _launch(args)
    if launch is None:
        return None
    # Takes seconds, which runs without a GPU do without.
    from common.models.config import read_config
    from common.models.tiny import PREFIX
    from common.plan.configs import config_named
    from common.plan.estimate import estimate
    from common.plan.jobs import job_of
    from common.plan.passes import Unplanned

    name = model_args.model_name_or_path
    config = read_config(model_args) if name.startswith(PREFIX) else config_named(name)
    try:
        job = job_of(args.run_values, config, **launch)
        return job, estimate(job, memory)
    except Unplanned as error:
        if is_main_process():
            say(f"The run's memory is not known: {error}.")
        return None


def _advice(job: "Job", plan: "Plan", rows: int, memory: float | None) -> tuple[str, str]:
    """Returns what is planned as a text, and what would make it smaller."""
    from common.plan.fit import cures  # as above

    found = "; ".join(f"{cure} (saves {gib:.1f} GiB)" for cure, gib in cures(job, rows, memory))
    parts = ", ".join(f"{name} {value:.1f}" for name, value in plan.parts[plan.phase].items() if value >= 0.05)
    return f"{plan.peak:.1f} GiB of tensors in the phase that takes most ({plan.phase}: {parts})", found or "more GPUs"


def check_memory(args: TrainingArguments, model_args: ModelConfig) -> None:
    """Says before anything is loaded if a run needs more than the GPU has.

    Args:
        args: The training arguments, with all settings (`run_values`) and the launcher's DeepSpeed plugin.
        model_args: Names the model.

    Raises:
        SystemExit: With code 2 if an optimizer in 8 bits would be given more numbers at once than its kernel counts.
    """
    memory = gpu_gib()
    asked = is_main_process() or "8bit" in (args.run_values.get("optim") or "")  # a refusal is every process's own
    planned = _planned(args, model_args, memory) if memory is not None and asked else None
    if planned is None:
        return
    from common.plan.estimate import EIGHT_BIT_NUMBERS, too_many_for_eight_bits  # as above

    job, plan = planned
    if job.eight_bits and too_many_for_eight_bits(job, plan.counts):
        mine = plan.counts.trained // job.num_processes
        fail(
            f"optim {args.run_values['optim']}: ZeRO-{job.zero_stage} updates a process's {mine / 1e9:.1f} billion weights as "
            f"one tensor, and bitsandbytes takes {EIGHT_BIT_NUMBERS / 1e9:.1f} billion; launch with zero3.yaml, which updates "
            "parts of a billion, or on more GPUs"
        )
    if plan.needed > memory and is_main_process():
        needed, (text, found) = plan.needed, _advice(job, plan, args.per_device_train_batch_size, memory)
        say(
            f"This run is planned to need {needed:.1f} GiB, and the GPU has {memory:.1f}: {text}. It goes on, and may run out "
            f"of memory. What makes it smaller, in this order: {found}."
        )


def where_it_ran_out(trace: TracebackType | None) -> tuple[str, int | None]:
    """Returns what was computed when memory ran out, and the step if a trainer was at work.

    Args:
        trace: Of the error.
    """
    from transformers import Trainer  # as above

    frames = [frame for frame, _ in traceback.walk_tb(trace)]
    trainers = [frame.f_locals["self"] for frame in frames if isinstance(frame.f_locals.get("self"), Trainer)]
    step = trainers[0].state.global_step + 1 if trainers else None
    places = [f"{frame.f_code.co_filename}:{frame.f_code.co_name}" for frame in reversed(frames)]
    for phase, pattern in PHASES.items():
        if any(re.search(pattern, place) for place in places):
            return phase, step
    return "the run", step


def describe(
    error: torch.OutOfMemoryError, trace: TracebackType | None, args: TrainingArguments, model_args: ModelConfig
) -> str:
    """Returns one line on an error for want of memory: what asked for it, what the plan says, and what to do.

    Args:
        error: As torch raised it.
        trace: Its traceback.
        args: The training arguments.
        model_args: Names the model.
    """
    phase, step = where_it_ran_out(trace)
    asked = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
    memory = gpu_gib()
    line = f"the GPU is out of memory in {phase}" if phase != "the run" else "the GPU is out of memory"
    line += f" of step {step}" if step is not None and phase.startswith("the ") else ""
    line += f": {asked[1]} more were asked for" if asked else ""
    line += f", and it has {memory:.1f} GiB" if memory is not None else ""
    try:
        planned = _planned(args, model_args, memory)
    except SystemExit:  # a model that cannot be read any more
        planned = None
    if phase in ("evaluating", "generating completions") and not hasattr(args, "num_generations"):
        line += f"; answer fewer at once: --per_device_eval_batch_size {max(1, args.per_device_eval_batch_size // 2)}"
    if planned is None:
        return f"{line}; take fewer rows at once (--per_device_train_batch_size), and more gradient_accumulation_steps"
    plan, found = _advice(*planned, args.per_device_train_batch_size, memory)
    line += f"; planned were {plan}; what makes it smaller, in this order: {found}"
    if memory is not None and "expandable_segments" not in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""):
        line += "; where little is missing, PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True wastes less"
    return line


def end_in_one_line(args: TrainingArguments, model_args: ModelConfig) -> None:
    """Has the process end with one line where a GPU's memory does not suffice, and where another process has ended so.

    The launcher ends the others when one has ended. torch's error is what the line is made of; its traceback says no more.

    Args:
        args: The training arguments.
        model_args: Names the model.
    """
    before: Callable = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        rank = os.environ.get("RANK", "0")
        if isinstance(error, torch.OutOfMemoryError):
            line = f"error: {describe(error, trace, args, model_args)}"
        elif int(os.environ.get("WORLD_SIZE", "1")) > 1 and isinstance(error, RuntimeError) and re.search(LOST, str(error)):
            line = f"error: another process has ended ({brief(error)}); what it says tells why"
        else:
            before(kind, error, trace)
            return
        print(line if rank == "0" else f"{line} (process {rank})", file=sys.stderr, flush=True)
        tell_launcher(line)

    sys.excepthook = hook
