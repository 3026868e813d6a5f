"""The log-probabilities that GRPO learns from, without padding: the rows of a batch are packed into one."""

from functools import wraps
from typing import Any

from common.models.attention import VARLEN

import torch
from torch.nn.functional import pad
from trl import GRPOTrainer


def skip_padding(trainer: GRPOTrainer) -> None:
    """Has a trainer compute its log-probabilities on the real tokens alone, where the attention tells packed rows apart.

    TRL (1.16) pads all rows of a generation to its longest prompt and its longest completion, and there is no public way to
    pack them. On GSM8K more than half of what it computes is padding.

    Args:
        trainer: Ready to train.
    """
    padded = trainer._get_per_token_logps_and_entropies

    @wraps(padded)
    def packed(
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **pictures: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        varlen = trainer.accelerator.unwrap_model(model).config._attn_implementation == VARLEN
        if not varlen or compute_aux_loss or any(value is not None for value in pictures.values()):
            asked = (batch_size, compute_entropy, compute_aux_loss)
            return padded(model, input_ids, attention_mask, logits_to_keep, *asked, **pictures)
        size = batch_size or len(input_ids)
        scored = [
            _scores(model, ids, mask.bool(), logits_to_keep, trainer.accelerator.autocast)
            for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True)
        ]
        logprobs, entropies = zip(*scored, strict=True)
        return torch.cat(logprobs), torch.cat(entropies) if compute_entropy else None, None

    trainer._get_per_token_logps_and_entropies = packed


def _scores(
    model: torch.nn.Module, input_ids: torch.Tensor, real: torch.Tensor, kept: int, autocast: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Returns log-probabilities and entropies of the last tokens of each row, of shape (rows, kept); 0 where there is padding.

    Args:
        model: With TRL's fused head.
        input_ids: Of shape (rows, tokens), padded.
        real: Where there is no padding, of the same shape; the first token of each row is of a prompt.
        kept: How many tokens of each row are wanted.
        autocast: Makes the context in which the model computes.
    """
    labels = input_ids.clone()
    labels[:, :-kept] = -100
    lengths = real.sum(dim=1)
    boundaries = pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    longest = int(lengths.max())
    with autocast():
        outputs = model(
            input_ids=input_ids[real][None],
            position_ids=(real.cumsum(dim=1) - 1)[real][None],
            labels=labels[real][None],
            fused_lm_head=True,
            cu_seq_lens_q=boundaries,
            cu_seq_lens_k=boundaries,
            max_length_q=longest,
            max_length_k=longest,
        )
    # A score stands where the token before its own does; the first token, which none stands before, is of a prompt.
    logprobs, entropies = (
        None if scores is None else scores.new_zeros(real.shape).masked_scatter(real, pad(scores[0], (1, 0)))[:, -kept:]
        for scores in (outputs.log_probs, outputs.entropy)
    )
    return logprobs, entropies
