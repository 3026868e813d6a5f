"""What is looked at after each step and each save: whether to stop, and whether there is anything worth keeping."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from common.data.runs import RECORD, checkpoint_steps
from common.errors import fail, is_main_process, say, tell_launcher
from common.run.checkpoints import mark, not_finite, rotate
from common.run.disk import check_room
from common.run.divergence import DivergenceGuard
from common.run.files import open_to_readers
from common.run.signals import StopRequest, ask_for_another_job, exit_code, what_is_saved

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments


def updates_per_generation(args: TrainingArguments) -> int:
    """Returns how many optimizer steps use the completions of one generation, which TRL keeps in memory; 1 if none do."""
    if not hasattr(args, "num_generations"):
        return 1
    return max(1, args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps)


class Watch(TrainerCallback):
    """Stops on request once all is saved, and before anything is saved that has diverged; marks and rotates checkpoints.

    Args:
        trainer: The trainer.
        request: What a signal or the clock asks for.
        guard: Looks for numbers that are not finite.
        needed: How many bytes a checkpoint takes; corrected by the first one.
        run: The folder of the run; that of the trainer is in it where this is a part of a run.

    Attributes:
        before_leaving: Called before a process ends that is asked to stop before the first step or after the last.
    """

    def __init__(self, trainer: Trainer, request: StopRequest, guard: DivergenceGuard, needed: int, run: Path):
        self.trainer, self.request, self.guard, self.needed = trainer, request, guard, needed
        self.run, self.folder = run, Path(trainer.args.output_dir)
        self.limit, trainer.args.save_total_limit = trainer.args.save_total_limit, None  # here, after the mark
        self.stopping, self.slow = 0, False
        self.before_leaving: Callable[[], None] = lambda: None
        self.step_ended = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:  # the first evaluation follows, which may take longer than a launcher waits
            self._leave_when_asked()

    def on_step_begin(self, args, state, control, **kwargs):
        self.request.leave = None
        self.guard.begin_step()

    def on_step_end(self, args, state, control, **kwargs):
        self.step_ended = time.monotonic()
        # One small message among all processes: they stop at the same step, whoever got the signal or met the number.
        found = torch.stack([torch.tensor(self.request.now(), device=args.device), self.guard.diverged().long()])
        if args.world_size > 1:
            torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        asked, diverged = found.tolist()
        if diverged:
            self.guard.stop_here(state.global_step)
        # Completions of a generation are kept in memory only: its updates are done first.
        if asked and state.global_step % updates_per_generation(args) == 0:
            self.stopping = asked
            control.should_save = True
        if control.should_save:
            saved = f"checkpoint-{checkpoint_steps(self.folder)[0]}" if checkpoint_steps(self.folder) else "its beginning"
            check_room(self.folder, self.needed, f"make room, and the same command continues from {saved}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            losses = [row["loss"] for row in state.log_history if "loss" in row]
            self.guard.look_for_spike(state.global_step, losses)

    def on_save(self, args, state, control, **kwargs):
        checkpoint = self.folder / f"checkpoint-{state.global_step}"
        self.check_weights()
        if is_main_process():
            if not (self.folder / RECORD).exists():  # the trainer has made the folder anew
                fail(f"output_dir {self.folder} was removed while the run went on; the same command begins anew")
            for card in checkpoint.rglob("README.md"):  # PEFT's, with nothing in it but the path of the base model
                card.unlink()
            open_to_readers(checkpoint)
        mark(checkpoint, args.process_index)
        if is_main_process():
            rotate(self.folder, state.global_step, self.limit, state.best_model_checkpoint)
            self.needed = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
        self._compare_with_grace(time.monotonic() - self.step_ended)
        if self.stopping:
            self.request.close()
            self._leave(f"saved step {state.global_step}; the same command continues", self.stopping)
            self.trainer.accelerator.end_training()
            raise SystemExit(exit_code(self.stopping))

    def on_train_end(self, args, state, control, **kwargs):
        self._leave_when_asked()

    def check_weights(self) -> None:
        """Ends the run if any weight on any process is not finite, so that it is neither marked nor saved as a model."""
        args, step = self.trainer.args, self.trainer.state.global_step
        found = torch.tensor(int(not_finite(self.trainer.model)), device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        if found.item():
            if is_main_process():
                shutil.rmtree(self.folder / f"checkpoint-{step}", ignore_errors=True)
            self.guard.stop(step, "the training has diverged (the weights are not finite)")

    def _compare_with_grace(self, seconds: float) -> None:
        grace = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30"))
        if seconds > grace and not self.slow and "TORCHELASTIC_RUN_ID" in os.environ:
            self.slow = True
            say(
                f"Saving took {seconds:.0f} s, and a launcher that is told to stop waits {grace:.0f} s for it: "
                f"`export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={2 * seconds:.0f}`"
            )

    def _leave(self, line: str, number: int) -> None:
        say(line)
        tell_launcher(line)
        ask_for_another_job(self.run, number)

    def _leave_when_asked(self) -> None:
        """Lets a signal end the process at once, before the first step and after the last: there is nothing to be saved."""
        self.request.leave = self._leave_now
        if self.request.received:
            self._leave_now(self.request.received)

    def _leave_now(self, number: int) -> None:
        """Ends the process without waiting for the others, which may be anywhere."""
        try:
            self._leave(what_is_saved(self.run), number)
            self.before_leaving()
        finally:
            os._exit(exit_code(number))
