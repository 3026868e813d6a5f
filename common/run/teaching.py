"""What keeps GRPO from learning, said in a line: rewards that are no numbers or all alike, too few prompts, no room."""

import textwrap
from collections.abc import Callable, Iterable
from functools import wraps
from math import isfinite
from typing import TYPE_CHECKING, Any

from common.errors import BadRow, fail, say

from transformers import TrainerCallback

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase
    from trl import GRPOConfig

PATIENCE = 5  # steps at the start after which a run that cannot learn says so

# --- Rewards --------------------------------------------------------------------------------------------------------------


def counted_rewards(args: "GRPOConfig", reward_funcs: list[Callable[..., list[float]]]) -> list[Callable[..., list[float]]]:
    """Returns the reward functions that count, each checked; `reward_weights` is set to theirs.

    One with a weight of 0 is left out: it would take time and teach nothing.

    Args:
        args: The training arguments, with `reward_weights` for all functions or none.
        reward_funcs: The reward functions in TRL's form.
    """
    weights = args.reward_weights or [1.0] * len(reward_funcs)
    counted = [(function, weight) for function, weight in zip(reward_funcs, weights, strict=True) if weight]
    if not counted:  # a phase of which no reward counts: `WatchRewards` says that it teaches nothing
        return [checked(function) for function in reward_funcs]
    args.reward_weights = [weight for _, weight in counted]
    return [checked(function) for function, _ in counted]


def checked(function: Callable[..., list[float]]) -> Callable[..., list[float]]:
    """Returns a reward function that ends the run where a reward is no finite number: TRL would leave it out of the mean.

    Args:
        function: A reward function in TRL's form. What it returns may be numbers, truth values, or scalars of numpy or torch.

    Raises:
        SystemExit: With code 2 and one line with the function, the value and the row, on the process that met it.
    """

    @wraps(function)
    def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        values = list(function(prompts=prompts, completions=completions, **columns))
        if len(values) != len(completions):
            counts = f"{len(values)} values for {len(completions)} completions"
            fail(f"the reward {function.__name__} gave {counts}; return one for each")
        found = [_finite(value) for value in values]
        if None in found:
            number = found.index(None)
            row = (columns.get("where") or [""] * len(values))[number] or f"the prompt {shown_prompt(prompts[number])}"
            fail(
                f"the reward {function.__name__} gave {values[number]!r:.40} for a completion of {row}; return a finite number "
                "for every completion, 0 where there is nothing to reward"
            )
        return found

    return reward


def _finite(value: Any) -> float | None:
    """Returns a number as a float; None for what is no finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and not isinstance(value, str) else None


def shown_prompt(prompt: Any) -> str:
    """Returns the beginning of what a prompt asks."""
    return repr(textwrap.shorten(prompt if isinstance(prompt, str) else str(prompt[-1]["content"]), 60, placeholder=" ..."))


# --- Before training ------------------------------------------------------------------------------------------------------


def check_num_prompts(num_prompts: int, args: "GRPOConfig") -> None:
    """Checks that there are enough prompts for one generation: TRL would leave out all, and train nothing.

    Args:
        num_prompts: Rows of the training set.
        args: The training arguments.

    Raises:
        SystemExit: With code 2.
    """
    needed = args.generation_batch_size // args.num_generations
    if num_prompts < needed:
        fail(
            f"{num_prompts} prompts, a generation takes {needed} ({args.generation_batch_size} completions, "
            f"{args.num_generations} of each prompt); use more rows, or lower per_device_train_batch_size or "
            "gradient_accumulation_steps"
        )
    if num_prompts % needed:
        say(f"An epoch leaves over {num_prompts % needed} of {num_prompts} prompts: a generation takes {needed}.")


def longest_prompt(
    prompts: Iterable[tuple[str, list[dict[str, str]]]],
    tokenizer: "PreTrainedTokenizerBase",
    max_prompt_length: int,
    what: str = "the prompt",
) -> int:
    """Returns the tokens of the longest prompt, and makes sure that all can be asked whole: a cut one would lose the question.

    Args:
        prompts: For each problem where it is, and the messages that ask it.
        tokenizer: Writes a prompt with its chat template, and counts its tokens.
        max_prompt_length: The longest that a prompt may be, in tokens.
        what: How the line names a prompt.

    Raises:
        SystemExit: With code 2 and one line for one that is longer, or that the template cannot write.
    """
    from common.data.spans import render  # with transformers' tokenizers, which take seconds

    longest = 0
    for where, messages in prompts:
        try:
            text = render(messages, tokenizer, prompt=True)
        except BadRow as error:
            fail(f"{where}: {error}")
        count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if count > max_prompt_length:
            fail(
                f"{where}: {what} has {count} tokens and max_prompt_length is {max_prompt_length}; raise it, or shorten the "
                "question"
            )
        longest = max(longest, count)
    return longest


def check_positions(longest: int, config: "PreTrainedConfig", max_new: int) -> None:
    """Checks that the longest prompt and a completion have room in the model's positions.

    Args:
        longest: The longest prompt as it is shown to the model, in tokens.
        config: Of the model: how many positions it knows.
        max_new: The longest completion in tokens.

    Raises:
        SystemExit: With code 2.
    """
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)  # some architectures know no end
    if positions and longest + max_new > positions:
        fail(
            f"the longest prompt has {longest} tokens, which with max_completion_length {max_new} is more than the "
            f"{positions} positions of the model; use at most --max_completion_length {max(0, positions - longest)}, or leave "
            "out long prompts"
        )


# --- While it trains ------------------------------------------------------------------------------------------------------


class WatchRewards(TrainerCallback):
    """Says within the first steps when nothing can be learned: every completion is cut, or no rewards of a group differ.

    Where `mask_truncated_completions` leaves only cut completions, and so nothing at all, the run ends.
    """

    def __init__(self):
        self.cut: list[bool] = []
        self.alike: list[bool] = []

    def on_step_end(self, args: "GRPOConfig", state: Any, control: Any, **kwargs: Any) -> None:
        """Has the first steps logged one by one."""
        if state.global_step <= PATIENCE:
            control.should_log = True

    def on_log(self, args: "GRPOConfig", state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Looks at the first steps, and speaks at the last of them; a generation is logged in the step that made it."""
        if "completions/clipped_ratio" not in logs or state.global_step > PATIENCE:
            return
        self.cut.append(logs["completions/clipped_ratio"] == 1.0)
        self.alike.append(logs.get("frac_reward_zero_std") == 1.0)
        if state.global_step < PATIENCE:
            return
        cut = f"all completions of the first {PATIENCE} steps were cut at max_completion_length {args.max_completion_length}"
        if all(self.cut) and args.mask_truncated_completions:
            fail(f"mask_truncated_completions: {cut}, so nothing is learned; raise it, and choose another --output_dir")
        if all(self.cut):
            say(f"Warning: {cut}, so no answer is whole; raise it if answers need more.")
        if all(self.alike):
            say(
                f"Warning: in the first {PATIENCE} steps no two completions of a prompt had different rewards, so all "
                "advantages are zero and nothing is learned; the problems are too hard or too easy for the model, temperature "
                "is too low, or the reward does not see the difference."
            )
