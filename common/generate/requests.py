"""What the engine is asked for: a completion for each of many prompts, and which prompts are read together."""

from collections.abc import Iterator
from dataclasses import dataclass

PREFILL_TOKENS = 16384  # read at once of new prompts, padding included


@dataclass
class Request:
    """A prompt that is to be completed.

    Attributes:
        number: Its place among all prompts.
        prompt: Its tokens.
        limit: The length that it and its completion may not exceed.
        seed: Of the noise that samples its completion.
        reached: How long both may be by now.
    """

    number: int
    prompt: tuple[int, ...]
    limit: int
    seed: int
    reached: int = 0

    def __post_init__(self):
        self.reached = len(self.prompt) + 1  # with the token that follows from reading it


def filled(prompt: tuple[int, ...], length: int) -> list[int]:
    """Returns a prompt with its first token behind it, up to a length: a penalty on repetitions sees nothing new there."""
    return [*prompt, *prompt[:1] * (length - len(prompt))]


def chunks(prompts: list[tuple[int, ...]]) -> Iterator[dict[tuple[int, ...], int]]:
    """Yields prompts that are read together, shortest first, each with its number among them."""
    chunk: dict[tuple[int, ...], int] = {}
    for prompt in prompts:
        if chunk and (len(chunk) + 1) * len(prompt) > PREFILL_TOKENS:
            yield chunk
            chunk = {}
        chunk[prompt] = len(chunk)
    yield chunk
