"""A training that has diverged stops before anything of it is saved, and names the batch that did it."""

import json
import math
from pathlib import Path
from statistics import median
from typing import Any

from common.data.runs import COMPLETE, checkpoint_steps
from common.errors import fail, is_main_process, say

import torch
from accelerate.utils import gather_object
from transformers import Trainer

SPIKE = 10.0  # times the running median
WINDOW = 50  # losses
TEXTS = ["input_ids", "prompt_ids", "completion_ids"]


class DivergenceGuard:
    """Looks at the loss of each batch and at the gradient norm of each step, without waiting for them.

    Args:
        trainer: The trainer, whose `compute_loss` and whose accelerator's `clip_grad_norm_` pass by here from now on.
        stop_on_spike: Whether a leap of the loss stops the training.
    """

    def __init__(self, trainer: Trainer, stop_on_spike: bool):
        self.trainer, self.stop_on_spike = trainer, stop_on_spike
        self.folder = Path(trainer.args.output_dir)
        self.loss = torch.zeros((), device=trainer.args.device)
        self.norm: Any = 0.0
        self.batches: list[dict[str, torch.Tensor]] = []
        compute_loss, clip_grad_norm = trainer.compute_loss, trainer.accelerator.clip_grad_norm_

        def watched_loss(model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            found = compute_loss(model, inputs, *args, **kwargs)
            if model.training:
                loss = found[0] if isinstance(found, tuple) else found
                self.loss = self.loss + loss.detach().float()
                self.batches.append({name: inputs[name] for name in TEXTS if name in inputs})
            return found

        def watched_norm(*args: Any, **kwargs: Any) -> Any:
            self.norm = clip_grad_norm(*args, **kwargs)
            return self.norm

        trainer.compute_loss, trainer.accelerator.clip_grad_norm_ = watched_loss, watched_norm

    def begin_step(self) -> None:
        """Forgets the step before."""
        self.loss, self.norm, self.batches = torch.zeros_like(self.loss), 0.0, []

    def diverged(self) -> torch.Tensor:
        """Returns, as a tensor of one bool, whether this process has met a number that is not finite in this step."""
        # In float16 a gradient that overflows is met now and then: its step is left out and the loss scale lowered.
        norm = torch.as_tensor(0.0 if self.norm is None or self.trainer.args.fp16 else self.norm, device=self.loss.device)
        return ~(self.loss.isfinite() & norm.float().isfinite())

    def stop(self, step: int, what: str) -> None:
        """Ends the run in one line, which names the last checkpoint and the batch; called on every process.

        Args:
            step: The step that did it.
            what: What was found.
        """
        tokenizer = getattr(self.trainer.processing_class, "tokenizer", self.trainer.processing_class)
        texts = [
            {name: tokenizer.decode(row[row != tokenizer.pad_token_id]) for name, row in zip(batch, rows, strict=True)}
            for batch in self.batches
            for rows in zip(*batch.values(), strict=True)
        ]
        everyone = gather_object([texts])
        batch = self.folder / f"diverged-step-{step}.jsonl"
        if is_main_process():
            rows = [{"process": process, **text} for process, texts in enumerate(everyone) for text in texts]
            batch.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        kept = [
            number for number in checkpoint_steps(self.folder) if (self.folder / f"checkpoint-{number}" / COMPLETE).exists()
        ]
        last = f"the last finite checkpoint is {self.folder / f'checkpoint-{kept[0]}'}" if kept else "no checkpoint was saved"
        fail(
            f"step {step}: {what}; {last}, the batch is in {batch}; begin anew in another --output_dir, with a lower "
            "learning_rate or max_grad_norm, or without the rows that did it"
        )

    def stop_here(self, step: int) -> None:
        """Ends the run because a process has met a number that is not finite; called on every process."""
        loss, norm = self.loss.item(), float(self.norm or 0.0)
        found = gather_object([(loss, norm)])
        process = next(number for number, values in enumerate(found) if not all(map(math.isfinite, values)))
        loss, norm = found[process]
        self.stop(step, f"the training has diverged (on process {process} the loss is {loss:g}, the gradient norm {norm:g})")

    def look_for_spike(self, step: int, losses: list[float]) -> None:
        """Says that the loss has leapt, or stops; not in GRPO, whose loss is around zero.

        Args:
            step: The step that was logged last.
            losses: The losses logged so far; the last one is looked at.
        """
        before = losses[-WINDOW - 1 : -1]
        if len(before) < 10 or hasattr(self.trainer.args, "num_generations"):
            return
        usual = median(before)
        if losses[-1] > SPIKE * usual > 0:
            leap = f"the loss has leapt to {losses[-1]:.3g}, {losses[-1] / usual:.0f} times its running median {usual:.3g}"
            if self.stop_on_spike:
                self.stop(step, leap)
            say(f"step {step:>4}  {leap}; `--stop_on_spike true` would stop here")
