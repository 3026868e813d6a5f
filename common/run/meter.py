"""What a training computes a second, and what it waits for: measured at every step, told with every line of the log."""

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback, TrainingArguments

# Dense bfloat16 peaks of NVIDIA's data sheets, in FLOP/s, by the name that torch tells: whatever is not here (other cards,
# parts of a card) has no MFU. https://resources.nvidia.com/en-us-tensor-core
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
}


def peak_memory_gib() -> float:
    """Returns this process's peak memory in GiB: of the GPU, or of the process where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def largest_peak_memory_gib() -> float:
    """Returns the largest peak memory of any process in GiB; called on every process."""
    return round(max(gather_object([peak_memory_gib()])), 2)


def _size(weight: torch.nn.Parameter) -> int:
    if getattr(weight, "quant_state", None) is not None:  # bitsandbytes packs two weights of 4 bits into a byte
        return weight.quant_state.shape.numel()
    return getattr(weight, "ds_numel", weight.numel())  # ZeRO-3 leaves a shard


def used_weights(model: torch.nn.Module) -> tuple[float, int]:
    """Counts the weights that a token meets, a tied embedding once, and of experts those that are chosen for it.

    Args:
        model: The model, with its adapters if it has any.

    Returns:
        The weights that a token meets, and those of the vision tower that a patch of a picture meets.
    """
    config = model.config.get_text_config()
    experts = [getattr(config, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts")]
    chosen = getattr(config, "num_experts_per_tok", None) or 1
    share = chosen / next((number for number in experts if number), chosen)
    text, vision = 0.0, 0
    for name, weight in model.named_parameters():  # a tied one has one name
        if ".visual." in f".{name}":
            vision += _size(weight)
        else:
            text += _size(weight) * (share if ".experts." in name else 1)
    return text, vision


def peak_of(args: TrainingArguments) -> float:
    """Returns the peak of all of a run's GPUs in FLOP/s; 0 where it is not known.

    Args:
        args: The training arguments.
    """
    if args.device.type != "cuda" or not (args.bf16 or args.fp16):
        return 0.0
    return PEAKS.get(torch.cuda.get_device_name(args.device), 0.0) * args.world_size


class Meter(TrainerCallback):
    """Adds what a training computes and waits for to each row of its log; the first callback, so that all others see it.

    Added are, of all processes and since the row before:

    - `train_seconds`: the time of the steps, without evaluations and checkpoints, and `tokens_per_second` in it: tokens that
      are trained on, prompts included, padding not; in GRPO those of the completions and their prompts, as often as used.
    - `mfu`: the share of the GPUs' peak that 6 FLOP a weight and token are (Chowdhery et al. 2022, arXiv:2204.02311): without
      attention and recomputation, and the same with adapters; a picture's patches count with the weights of the vision tower.
    - `data_wait`: seconds that a step waits for the loader, on the process that waits longest.
    - `padding_share`: the share of what is computed that is padding.
    - `peak_memory_gib`: of the process that took most, since it began.
    - `num_tokens` in supervised training: the tokens since the run began, also where it was continued (TRL's begin anew).
    - In GRPO `rollout_share` of the steps' time, and `rollout_tokens_per_second` in it: the tokens of completions.

    Args:
        trainer: The trainer, whose `get_batch_samples` and, in GRPO, `_generate` pass by here from now on.
    """

    def __init__(self, trainer: Trainer):
        self.trainer, args = trainer, trainer.args
        self.samples = hasattr(args, "num_generations")
        self.peak = peak_of(args)
        self.text_weights, self.vision_weights = used_weights(trainer.model)
        self.begun = 0.0
        self._begin_row()
        self._begin_step()
        get_batch_samples = trainer.get_batch_samples

        def timed_batches(batches: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
            self.begun = time.perf_counter()
            return get_batch_samples(self._waited_for(batches), *args, **kwargs)

        trainer.get_batch_samples = timed_batches
        if self.samples:
            # TRL (1.16) tells the time of the rollout to wandb alone.
            trainer._generate = self._timed_rollout(trainer._generate)
        self.hook = trainer.model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _begin_row(self) -> None:
        self.steps, self.seconds, self.wait, self.rollout_seconds = 0, 0.0, 0.0, 0.0
        self.tokens, self.positions, self.patches, self.sampled, self.memory = 0.0, 0.0, 0.0, 0.0, 0.0

    def _begin_step(self) -> None:
        self.step_tokens: torch.Tensor | int = 0
        self.step_positions, self.step_patches, self.step_sampled = 0, 0, 0
        self.step_wait, self.step_rollout = 0.0, 0.0

    def _waited_for(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            begun = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.step_wait += time.perf_counter() - begun
            yield batch

    def _timed_rollout(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            done = generate(*args, **kwargs)
            self.step_rollout += time.perf_counter() - begun
            self.step_sampled += sum(map(len, done[1]))  # after the prompts, the completions' tokens
            return done

        return timed

    def _count(self, model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.is_grad_enabled():  # nothing is learned from it: an evaluation, a rollout, a reference model
            return
        input_ids, mask, pictures = kwargs["input_ids"], kwargs.get("attention_mask"), kwargs.get("pixel_values")
        self.step_positions += input_ids.numel()
        self.step_tokens += input_ids.numel() if mask is None else mask.sum()
        self.step_patches += 0 if pictures is None else len(pictures)

    def on_step_end(self, args, state, control, **kwargs):
        counts = [self.step_tokens, self.step_positions, self.step_patches, self.step_sampled]
        measured = [*map(float, counts), self.step_wait, self.step_rollout, peak_memory_gib()]
        found = torch.tensor(measured, dtype=torch.float64, device=args.device)
        found = self.trainer.accelerator.gather(found[None])
        tokens, positions, patches, sampled = found[:, :4].sum(dim=0).tolist()  # waits for all that the GPU has to do
        wait, rollout, self.memory = found[:, 4:].amax(dim=0).tolist()
        self.seconds += time.perf_counter() - self.begun
        self.steps += 1
        self.tokens, self.positions, self.patches = self.tokens + tokens, self.positions + positions, self.patches + patches
        self.sampled, self.wait, self.rollout_seconds = self.sampled + sampled, self.wait + wait, self.rollout_seconds + rollout
        if not self.samples:
            state.num_input_tokens_seen += int(tokens)  # which a checkpoint keeps; GRPO counts there what it samples
        self._begin_step()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs or not self.steps:
            return
        logs["train_seconds"] = round(self.seconds, 4)
        logs["tokens_per_second"] = round(self.tokens / self.seconds, 1)
        if self.peak:
            operations = 6 * (self.tokens * self.text_weights + self.patches * self.vision_weights)
            logs["mfu"] = round(operations / self.seconds / self.peak, 4)
        logs["data_wait"] = round(self.wait / self.steps, 4)
        logs["padding_share"] = round(1 - self.tokens / self.positions, 4) if self.positions else 0.0
        logs["peak_memory_gib"] = round(self.memory, 2)
        if not self.samples:
            logs["num_tokens"] = state.num_input_tokens_seen
        if self.rollout_seconds:
            logs["rollout_tokens_per_second"] = round(self.sampled / self.rollout_seconds, 1)
            logs["rollout_share"] = round(self.rollout_seconds / self.seconds, 4)
        self._begin_row()

    def on_train_end(self, args, state, control, **kwargs):
        self.hook.remove()


def speed(row: Mapping[str, float]) -> str:
    """Returns what a row of the log says about speed and memory, as a progress line shows it.

    Args:
        row: A row with what `Meter` adds.
    """
    if "tokens_per_second" not in row:
        return ""
    parts = [f"{row['tokens_per_second']:,.0f} tokens/s"]
    if "mfu" in row:
        parts.append(f"MFU {row['mfu']:.0%}")
    if "rollout_share" in row:
        parts.append(f"rollout {row['rollout_share']:.0%} of a step at {row['rollout_tokens_per_second']:,.0f} tokens/s")
    parts += [f"padding {row['padding_share']:.0%}", f"waits {row['data_wait']:.2g} s for data"]
    return ", ".join([*parts, f"{row['peak_memory_gib']:.3g} GiB"])


def average_speed(rows: list[dict[str, Any]]) -> str:
    """Returns the speed of all the steps of a run, as a line of its report.

    Args:
        rows: The run's rows.
    """
    measured = [row for row in rows if "train_seconds" in row]
    seconds = sum(row["train_seconds"] for row in measured)
    if not seconds:
        return ""

    def mean(name: str) -> float | None:
        found = [(row[name], row["train_seconds"]) for row in measured if name in row]
        return sum(value * weight for value, weight in found) / sum(weight for _, weight in found) if found else None

    parts = [f"{mean('tokens_per_second'):,.0f} trained tokens a second of training"]
    if mean("mfu") is not None:
        parts.append(f"MFU {mean('mfu'):.1%}")
    if mean("rollout_share") is not None:
        parts.append(f"{mean('rollout_share'):.0%} of a step is rollout")
    return ", ".join([*parts, f"{mean('padding_share'):.0%} of what is computed is padding"])
