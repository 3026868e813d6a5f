"""The loss of held-out rows."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.measure.shares import share_out
from common.models.base import base_of

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel
from trl.trainer import add_fused_lm_head
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


@contextmanager
def _fused_head(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Gives a model the head that SFTTrainer trains with: the logits of a large vocabulary, for each token, are never there."""
    base = base_of(model)
    own = vars(base).get("forward")  # a trainer's or an accelerator's; a model as it was loaded has none but its class's
    add_fused_lm_head(base)
    try:
        yield
    finally:
        if own is None:
            del base.forward
        else:
            base.forward = own


def mean_loss(
    model: torch.nn.Module,
    accelerator: Accelerator,
    dataset: Dataset,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Returns the mean loss of the trained tokens of a data set; the rows are shared out over the processes.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Knows the processes.
        dataset: Rows of `common.data.tokens.tokenize`.
        batch_size: Rows computed at once on a device.

    Returns:
        `value`, in nats a token.
    """
    rows = share_out(len(dataset), accelerator.process_index, accelerator.num_processes)
    collate = DataCollatorForLanguageModeling(pad_token_id=0)  # padding is masked: its token does not matter
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    with _fused_head(accelerator.unwrap_model(model)), torch.no_grad(), accelerator.autocast():
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            batch = send_to_device(collate([dataset[index] for index, _ in chunk]), accelerator.device)
            batch["labels"][[not counted for _, counted in chunk]] = -100
            output = model(**batch, fused_lm_head=True)
            total[0] -= output.log_probs.sum()  # 0 where there is no label
            total[1] += output.label_mask.sum()
    model.train(was_training)
    loss, tokens = accelerator.reduce(total, "sum").tolist()
    return {"value": loss / tokens}
