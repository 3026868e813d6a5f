"""Math problems with a number as the answer: GSM8K, a file of your own, or generated ones."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from common.data.rows import load_rows
from common.errors import fail

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from arguments import MathArguments


@dataclass(frozen=True)
class Problem:
    """A word problem.

    Attributes:
        question: What the model reads.
        solution: The worked steps, without the final answer; never shown to the model in GRPO.
        answer: The number that the reward looks for, as text.
    """

    question: str
    solution: str
    answer: str


# --- GSM8K and files in its form ----------------------------------------------------------------------------------------


def parse_solution(text: str) -> tuple[str, str] | None:
    """Splits a GSM8K solution into its worked steps and its final number.

    Args:
        text: Worked steps with calculator notes in << >>, then `#### ` and the answer (Cobbe et al. 2021, arXiv:2110.14168).

    Returns:
        The steps without calculator notes, and the number without thousands separators; None if there is no number.
    """
    steps, mark, answer = text.rpartition("####")
    answer = answer.strip().lstrip("$").replace(",", "")
    if not mark or re.fullmatch(r"-?\d+(\.\d+)?", answer) is None:
        return None
    return re.sub(r"<<[^>]*>>", "", steps).strip(), answer


def reference_completion(problem: Problem) -> str:
    """Returns the reference solution as a model should write it: the steps, then the boxed answer."""
    return f"{problem.solution}\n\\boxed{{{problem.answer}}}"


def _problems(rows: Iterable[dict[str, str]], where: str) -> list[Problem]:
    problems = []
    for number, row in enumerate(rows, start=1):
        parsed = parse_solution(row["answer"])
        if parsed is None:
            fail(f"{where}, row {number}: no final answer in column `answer`; end it with `#### ` and a number")
        problems.append(Problem(row["question"], *parsed))
    return problems


def load_problems(args: MathArguments, seed: int) -> tuple[list[Problem], dict[str, list[Problem]]]:
    """Loads problems to train on and problems that are never trained on.

    Args:
        args: Names the data and says how many problems to train on and to hold out.
        seed: Seed of the generated training problems.

    Returns:
        The training problems, and the held-out sets by name.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    if args.num_held_out < 1:
        fail(f"num_held_out is {args.num_held_out}: without held-out problems nothing can be measured; use at least 1")
    if args.dataset_name == "synthetic":
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many problems to generate, for example --num_train 4000")
        from lesson.synthetic import synthetic_splits  # a copy of the recipe may do without the folder

        return synthetic_splits(args.num_train, args.num_held_out, seed)
    splits = load_rows(args.dataset_name, ["question", "answer"], args.dataset_config)
    train = _problems(splits["train"], args.dataset_name)
    if "test" in splits:
        held_out = _problems(splits["test"], f"{args.dataset_name} (test)")[: args.num_held_out]
    else:
        if len(train) <= args.num_held_out:
            fail(
                f"{args.dataset_name} has {len(train)} rows, of which num_held_out {args.num_held_out} would be held out; "
                "lower num_held_out or add rows"
            )
        train, held_out = train[: -args.num_held_out], train[-args.num_held_out :]
    return train[: args.num_train or None], {"held_out": held_out}


def conversation(question: str, system_prompt: str) -> list[dict[str, str]]:
    """Returns the messages that a model is asked to continue."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": question}]


def to_dataset(problems: list[Problem], tokenizer: PreTrainedTokenizerBase, args: MathArguments) -> Dataset:
    """Returns the training set in TRL's form: `prompt` for the model, `answer` for the reward functions.

    Args:
        problems: The training problems.
        tokenizer: Counts the tokens of a prompt.
        args: Gives the system prompt and the longest prompt.

    Raises:
        SystemExit: With code 2 if a prompt is longer than `max_prompt_length` tokens: cutting it would cut the question.
    """
    prompts = [conversation(problem.question, args.system_prompt) for problem in problems]
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
    for number, tokens in enumerate(tokenizer(texts, add_special_tokens=False)["input_ids"], start=1):
        if len(tokens) > args.max_prompt_length:
            fail(
                f"{args.dataset_name}, row {number}: the prompt has {len(tokens)} tokens and max_prompt_length is "
                f"{args.max_prompt_length}; raise it, or shorten the question"
            )
    return Dataset.from_dict({"prompt": prompts, "answer": [problem.answer for problem in problems]})
