"""Math problems with a number as the answer: GSM8K, a file of your own, or generated ones."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.data.lesson import import_lesson
from common.data.rows import load_rows
from common.data.splits import check_num_held_out, hold_out
from common.errors import fail
from common.measure.math_answers import gold_number

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
        where: File and row, for errors; empty where it is generated.
    """

    question: str
    solution: str
    answer: str
    where: str = ""


# --- GSM8K and files in its form ----------------------------------------------------------------------------------------


def parse_solution(text: str) -> tuple[str, str] | None:
    """Splits a GSM8K solution into its worked steps and its final number.

    Args:
        text: Worked steps with calculator notes in << >>, then `#### ` and the answer (Cobbe et al. 2021, arXiv:2110.14168).

    Returns:
        The steps without calculator notes, and the number as `gold_number` writes it; None if there is no number.
    """
    answer = gold_number(text)
    return (re.sub(r"<<[^>]*>>", "", text.rpartition("####")[0]).strip(), answer) if answer else None


def _problems(rows: Iterable[dict[str, str]], where: str) -> list[Problem]:
    problems = []
    for number, row in enumerate(rows, start=1):
        parsed = parse_solution(row["answer"])
        if parsed is None:
            fail(f"{where}, row {number}: no final answer in column `answer`; end it with `#### ` and a number")
        problems.append(Problem(row["question"], *parsed, f"{where}, row {number}"))
    return problems


def load_data(args: MathArguments, seed: int) -> tuple[list[Problem], list[Problem], dict[str, list[Problem]]]:
    """Loads problems to train on, problems to choose by, and problems that are reported on.

    Args:
        args: Names the data and says how many problems to train on and to hold out.
        seed: Seed of the generated training problems; the held-out ones are the same for every seed.

    Returns:
        The training problems, the validation problems, and the held-out sets by name; see `common.data.splits`.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    check_num_held_out(args.num_held_out)
    if args.dataset_name == "synthetic":
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many problems to generate, for example --num_train 4000")
        return import_lesson("synthetic").synthetic_splits(args.num_train, args.num_held_out, seed)
    splits = load_rows(args.dataset_name, ["question", "answer"], args.dataset_config)
    is_file = Path(args.dataset_name).is_file()
    problems = {
        split: _problems(rows, args.dataset_name if is_file else f"{args.dataset_name} ({split})")
        for split, rows in splits.items()
    }
    train, validation, held_out = hold_out(
        problems, lambda problem: problem.question, args.num_held_out, name=args.dataset_name
    )
    return train[: args.num_train or None], validation, {"held_out": held_out}


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
    for problem, tokens in zip(problems, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True):
        if len(tokens) > args.max_prompt_length:
            fail(
                f"{problem.where or repr(problem.question)}: the prompt has {len(tokens)} tokens and max_prompt_length is "
                f"{args.max_prompt_length}; raise it, or shorten the question"
            )
    answers, where = [problem.answer for problem in problems], [problem.where for problem in problems]
    return Dataset.from_dict({"prompt": prompts, "answer": answers, "where": where})
