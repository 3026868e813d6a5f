"""Completions of many prompts at once: a decoding step is recorded as a CUDA graph and replayed, and no slot stays idle long.

`generate` of transformers launches some thousand kernels a token from Python, and in a trainer each token passes DeepSpeed's
hooks. Here the body and the head are called below those hooks, and on a GPU only the first step of a kind is launched so.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.generate.next_token import next_tokens, processors_of
from common.generate.requests import Request, chunks, filled
from common.generate.slots import ATTENTION, new_slots

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

LENGTH = 128  # slots have a multiple of so many positions, so that slightly longer prompts still fit
STEPS = 16  # decoding steps between two looks at what has ended: a look waits for the GPU
REFILL = 0.25  # share of the slots that has ended before new prompts are read into them
FEWEST_SLOTS = 16  # so few are not moved together any more: the weights, which are read at each step, cost far more


@dataclass(frozen=True)
class Decoded:
    """A completion as tokens.

    Attributes:
        tokens: The end-of-turn token included, if it came to it.
        logprobs: The log-probability of each, at the sampling temperature.
    """

    tokens: list[int]
    logprobs: list[float]


class Engine:
    """Generates with a decoder of full attention; keeps its slots and its graphs for the next prompts."""

    def __init__(self, model: PreTrainedModel, config: GenerationConfig, *, slots: int, length: int):
        """Takes the memory of the slots.

        Args:
            model: The decoder with its head; an adapter's base.
            config: How is generated: what `next_token.HONOURED` names.
            slots: Completions generated at once.
            length: The longest prompt and its completion together, in tokens.
        """
        self.model, self.config = model, config
        self.body, self.head = model.base_model, model.get_output_embeddings()
        self.processors = processors_of(config)
        device, length = model.device, -(-length // LENGTH) * LENGTH
        # Of each slot: its tokens, their log-probabilities, where the newest stands, the position that it may not reach, the
        # seed of its noise, and whether it has ended.
        self.history = torch.zeros(slots, length, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(slots, length, device=device)
        self.positions, self.limits, self.seeds = torch.zeros(3, slots, dtype=torch.long, device=device)
        self.ended = torch.ones(slots, dtype=torch.bool, device=device)
        self.rows = torch.arange(slots, device=device)
        self.cache = new_slots(model.config, self.positions, length, model.dtype)
        self.ends = torch.tensor(config.eos_token_id, device=device).view(-1)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}  # by the number of slots
        self.pool = self._new_pool()
        self.launched: set[int] = set()  # numbers of slots whose kernels have been loaded by a step without a graph

    @property
    def num_slots(self) -> int:
        return len(self.ended)

    @property
    def length(self) -> int:
        """Positions of a slot."""
        return self.history.shape[1]

    def _new_pool(self) -> tuple[int, int] | None:
        """Returns where the graphs keep what they compute, all in the same place; None on a CPU, which has no graphs."""
        return torch.cuda.graph_pool_handle() if self.model.device.type == "cuda" else None

    def forget_graphs(self) -> None:
        """Has the steps recorded anew: the weights will stand elsewhere, as after ZeRO-3 has gathered them again."""
        self.graphs.clear()
        self.pool = self._new_pool()

    # --- A step -----------------------------------------------------------------------------------------------------------

    def _append(self, rows: torch.Tensor, logits: torch.Tensor) -> None:
        """Gives each of these slots its next token, but those that have ended."""
        before, running = self.positions[rows], ~self.ended[rows]
        seeds = self.seeds[rows] + before
        tokens, logprobs = next_tokens(logits, self.history[rows], self.config, self.processors, seeds)
        after = before + running
        # What has ended writes what stands there.
        tokens = torch.where(running, tokens, self.history[rows, after])
        self.history[rows, after] = tokens
        self.logprobs[rows, after] = torch.where(running, logprobs, self.logprobs[rows, after])
        self.positions[rows] = after
        self.ended[rows] |= (tokens[:, None] == self.ends).any(dim=1) | (after + 1 >= self.limits[rows])

    def _step(self, count: int) -> None:
        """Decodes one token in each of the first slots."""
        positions = self.positions[:count, None]
        hidden = self.body(
            input_ids=self.history[:count].gather(1, positions),
            position_ids=positions,
            attention_mask=positions[:, None, None],
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self._append(self.rows[:count], self.head(hidden[:, -1]))

    def _replay(self, count: int) -> None:
        """Does `_step`; on a GPU by replaying what it launched before."""
        if self.pool is None or count not in self.launched:  # a kernel must be loaded before it can be recorded
            self.launched.add(count)
            self._step(count)
            return
        if count not in self.graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                self._step(count)
            self.graphs[count] = graph
        self.graphs[count].replay()

    # --- Slots are filled, emptied and moved ------------------------------------------------------------------------------

    def _read(self, prompts: list[tuple[int, ...]]) -> tuple[torch.Tensor, DynamicCache]:
        """Reads prompts; returns the logits after each, and their keys and values."""
        longest = max(map(len, prompts))
        # Padded on the right: what a token sees stands before it.
        ids = torch.tensor([filled(prompt, longest) for prompt in prompts], device=self.model.device)
        cache = DynamicCache(config=self.model.config)
        hidden = self.body(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=ids.device)
        return self.head(hidden[torch.arange(len(prompts), device=ids.device), last]), cache

    def _fill(self, slots: list[int], requests: list[Request]) -> None:
        """Puts prompts into slots and gives each its first token; a prompt that several slots have is read once."""
        for chunk in chunks(sorted(dict.fromkeys(request.prompt for request in requests), key=len)):
            mine = [(slot, request) for slot, request in zip(slots, requests, strict=True) if request.prompt in chunk]
            logits, read = self._read(list(chunk))
            rows = self._numbers([slot for slot, _ in mine])
            copies = self._numbers([chunk[request.prompt] for _, request in mine])
            longest = read.get_seq_length()
            for own, source in zip(self.cache.layers, read.layers, strict=True):
                own.keys[rows, :longest] = source.keys.transpose(1, 2)[copies]
                own.values[rows, :longest] = source.values.transpose(1, 2)[copies]
            self.history[rows] = self._numbers([filled(request.prompt, self.length) for _, request in mine])
            self.positions[rows] = self._numbers([len(request.prompt) - 1 for _, request in mine])
            self.limits[rows] = self._numbers([request.limit for _, request in mine])
            self.seeds[rows] = self._numbers([request.seed for _, request in mine])
            self.ended[rows] = False
            self._append(rows, logits[copies])

    def _move(self, kept: list[int], count: int) -> None:
        """Moves slots to the front, in their order, and ends the others of the first `count`."""
        source = self._numbers(kept)
        states = [self.history, self.logprobs, self.positions, self.limits, self.seeds, self.ended]
        for state in [*states, *(states for layer in self.cache.layers for states in (layer.keys, layer.values))]:
            state[: len(kept)] = state[source]
        self.ended[len(kept) : count] = True

    def _collect(self, slots: list[Request | None], done: list[Decoded | None]) -> None:
        """Takes the completions that have ended out of their slots."""
        ended = self.ended.tolist()
        taken = [slot for slot, request in enumerate(slots) if request and ended[slot]]
        if not taken:
            return
        rows = self._numbers(taken)
        states = (self.history[rows], self.logprobs[rows], self.positions[rows])
        for slot, tokens, logprobs, last in zip(taken, *(state.tolist() for state in states), strict=True):
            request, slots[slot] = slots[slot], None
            begin = len(request.prompt)
            done[request.number] = Decoded(tokens[begin : last + 1], logprobs[begin : last + 1])

    def _numbers(self, numbers: list) -> torch.Tensor:
        return torch.tensor(numbers, device=self.model.device)

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Has the model attend to its slots."""
        own = self.model.config._attn_implementation
        self.model.set_attn_implementation(ATTENTION)
        try:
            yield
        finally:
            self.model.set_attn_implementation(own)

    # --- All of it --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(self, prompts: list[list[int]], max_new_tokens: int, seed: int = 0) -> list[Decoded]:
        """Generates a completion for each prompt.

        Args:
            prompts: Tokens of each.
            max_new_tokens: Where a completion is cut.
            seed: Of the noise that samples.

        Returns:
            The completions in the order of the prompts.
        """
        waiting = deque(
            Request(number, tuple(prompt), len(prompt) + max_new_tokens, seed + number * self.length)
            for number, prompt in enumerate(prompts)
        )
        slots: list[Request | None] = [None] * min(self.num_slots, len(prompts))
        done: list[Decoded | None] = [None] * len(prompts)
        while waiting or any(slots):
            running = [slot for slot, request in enumerate(slots) if request]
            free = [slot for slot, request in enumerate(slots) if not request]
            if waiting and len(free) >= REFILL * len(slots):
                requests = [waiting.popleft() for _ in free[: len(waiting)]]
                self._fill(free[: len(requests)], requests)
                for slot, request in zip(free, requests, strict=False):
                    slots[slot] = request
            elif not waiting and len(slots) > FEWEST_SLOTS and len(running) <= len(slots) // 2:
                count = len(slots) // 2
                self._move(running, count)
                slots = [slots[slot] for slot in running] + [None] * (count - len(running))
            requests = [request for request in slots if request]
            steps = min(STEPS, max(request.limit - request.reached for request in requests))
            with self._decoding():
                for _ in range(steps):
                    self._replay(len(slots))
            for request in requests:
                request.reached = min(request.reached + steps, request.limit)
            self._collect(slots, done)
        return done
