"""Triton kernels of a decoding step: attention to slots, writing into them, and the choice of a token.

Each does in one launch what takes torch several passes over its largest tensor. Imported where there is a GPU.
"""

import torch
import triton
import triton.language as tl

KEYS = 64  # read at once by a program of the attention
LOGITS = 4096  # looked at by a program of the choice


@triton.jit
def _write_kernel(
    new_keys, new_values, keys, values, positions, key_row, key_head, value_row, value_head, slot, position,
    SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    offsets = tl.arange(0, BLOCK)
    inside = offsets < SIZE
    target = row.to(tl.int64) * slot + tl.load(positions + row) * position + head * SIZE + offsets
    tl.store(keys + target, tl.load(new_keys + row * key_row + head * key_head + offsets, mask=inside), mask=inside)
    tl.store(values + target, tl.load(new_values + row * value_row + head * value_head + offsets, mask=inside), mask=inside)


def write(
    new_keys: torch.Tensor, new_values: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor
) -> None:
    """Writes the keys and values of one token into each slot.

    Args:
        new_keys: Of shape (slots, key/value heads, 1, head dimension).
        new_values: Of the same shape.
        keys: Of shape (slots or more, positions, key/value heads, head dimension).
        values: Of the same shape.
        positions: Where the token stands in each slot, of shape (slots,).
    """
    slots, heads, _, size = new_keys.shape
    new_keys, new_values = (states if states.stride(-1) == 1 else states.contiguous() for states in (new_keys, new_values))
    strides = [states.stride(axis) for states in (new_keys, new_values) for axis in (0, 1)]
    strides += [keys.stride(0), keys.stride(1)]
    block = triton.next_power_of_2(size)
    _write_kernel[slots, heads](new_keys, new_values, keys, values, positions, *strides, size, block)


@triton.jit
def _attend_kernel(
    query, keys, values, positions, output, scaling, query_row, query_head, slot, position,
    GROUP: tl.constexpr, SIZE: tl.constexpr, GROUP_BLOCK: tl.constexpr, SIZE_BLOCK: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    heads = tl.num_programs(1) * GROUP
    length = tl.load(positions + row) + 1
    group, size = tl.arange(0, GROUP_BLOCK), tl.arange(0, SIZE_BLOCK)
    within = (group < GROUP)[:, None] & (size < SIZE)[None]
    queries = tl.load(
        query + row * query_row + (head * GROUP + group)[:, None] * query_head + size[None], mask=within, other=0.0
    )
    largest = tl.full([GROUP_BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_BLOCK], tl.float32)
    found = tl.zeros([GROUP_BLOCK, SIZE_BLOCK], tl.float32)
    start = row.to(tl.int64) * slot + head * SIZE
    for first in range(0, length, KEYS):
        place = first + tl.arange(0, KEYS)
        there = (place < length)[:, None] & (size < SIZE)[None]
        where = start + place[:, None] * position + size[None]
        key = tl.load(keys + where, mask=there, other=0.0)
        scores = tl.dot(queries, tl.trans(key), input_precision="ieee") * scaling
        scores = tl.where((place < length)[None], scores, float("-inf"))
        now = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp(scores - now[:, None])
        shrink = tl.exp(largest - now)
        value = tl.load(values + where, mask=there, other=0.0)
        found = found * shrink[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        largest = now
    target = output + (row * heads + head * GROUP + group)[:, None] * SIZE + size[None]
    tl.store(target, (found / total[:, None]).to(output.dtype.element_ty), mask=within)


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attends with the newest token of each slot to all that stands up to it, and reads no further.

    The sums are kept as in FlashAttention (Dao et al. 2022, arXiv:2205.14135); a program takes the heads that share keys.

    Args:
        query: Of shape (slots, heads, 1, head dimension).
        keys: Of shape (slots, positions, key/value heads, head dimension).
        values: Of the same shape.
        positions: Where the newest token stands, of shape (slots,).
        scaling: Factor of the scores.

    Returns:
        Of shape (slots, 1, heads, head dimension).
    """
    slots, heads, _, size = query.shape
    query = query if query.stride(-1) == 1 else query.contiguous()
    shared = keys.shape[2]
    group = heads // shared
    output = torch.empty(slots, 1, heads, size, dtype=query.dtype, device=query.device)
    strides = query.stride(0), query.stride(1), keys.stride(0), keys.stride(1)
    blocks = (max(16, triton.next_power_of_2(number)) for number in (group, size))  # a matrix product takes at least 16
    _attend_kernel[slots, shared](
        query, keys, values, positions, output, scaling, *strides, group, size, *blocks, KEYS, num_warps=4, num_stages=3
    )
    return output


@triton.jit
def _look_kernel(
    logits, scores, seeds, largest, totals, best, tokens, vocabulary, chunks, logit_scale, score_scale,
    SAMPLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, chunk = tl.program_id(0), tl.program_id(1)
    numbers = chunk * BLOCK + tl.arange(0, BLOCK)
    inside = numbers < vocabulary
    start = row.to(tl.int64) * vocabulary
    logit = tl.load(logits + start + numbers, mask=inside, other=float("-inf")).to(tl.float32) * logit_scale
    score = tl.load(scores + start + numbers, mask=inside, other=float("-inf")).to(tl.float32) * score_scale
    top = tl.max(logit, 0)
    if SAMPLE:
        uniform = tl.maximum(tl.rand(tl.load(seeds + row), numbers), 1e-10)
        # Exponential. A rare token wins by noise near 0, where 1 - uniform has lost its digits.
        noise = tl.where(uniform < 1e-3, uniform * (1 + uniform / 2), -tl.log(1 - uniform))
        score -= tl.log(noise)
    place = row * chunks + chunk
    tl.store(largest + place, top)
    tl.store(totals + place, tl.sum(tl.exp(logit - top), 0))
    tl.store(best + place, tl.max(score, 0))
    tl.store(tokens + place, chunk * BLOCK + tl.argmax(score, 0))


def choose(
    logits: torch.Tensor, scores: torch.Tensor, seeds: torch.Tensor | None, logit_scale: float, score_scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chooses the token of the largest score, after noise if it is to be sampled.

    The logarithm of an exponential number taken from each score makes the largest one a sample of their softmax (Gumbel 1954).

    Args:
        logits: Of shape (rows, vocabulary).
        scores: Of the same shape; what is chosen by.
        seeds: The seed of each row's noise, of shape (rows,); None for none.
        logit_scale: Factor of the logits, for the log-probability.
        score_scale: Factor of the scores.

    Returns:
        The tokens, of shape (rows,), and their log-probabilities by the logits.
    """
    rows, vocabulary = logits.shape
    logits, scores = logits.contiguous(), scores.contiguous()
    chunks = triton.cdiv(vocabulary, LOGITS)
    largest, totals, best = torch.empty(3, rows, chunks, device=logits.device)
    tokens = torch.empty(rows, chunks, dtype=torch.long, device=logits.device)
    sample, seeds = seeds is not None, tokens if seeds is None else seeds
    found = largest, totals, best, tokens
    _look_kernel[rows, chunks](
        logits, scores, seeds, *found, vocabulary, chunks, logit_scale, score_scale, sample, LOGITS, num_warps=8
    )
    chosen = tokens.gather(1, best.argmax(dim=1, keepdim=True))
    norm = (largest + totals.log()).logsumexp(dim=1)
    return chosen[:, 0], logits.gather(1, chosen)[:, 0].float() * logit_scale - norm
