"""Math problems with a number as the answer: GSM8K, a file of your own, or generated ones."""

from dataclasses import dataclass

from common.data.formats import Conversation
from common.data.lesson import check_size, import_lesson
from common.data.parts import is_lesson
from common.data.splits import check_num_held_out
from common.errors import fail
from common.measure.problems import load_problems, worked_steps
from common.run.teaching import longest_prompt

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


# --- Any data -----------------------------------------------------------------------------------------------------------


def to_problem(row: Conversation) -> Problem:
    """Makes a problem of a row as `common.measure.problems` reads it."""
    return Problem(row["question"], worked_steps(row["solution"]), row["answer"], row["where"])


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
    if is_lesson(args):
        check_size(args)
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many problems to generate, for example --num_train 4000")
        return import_lesson("synthetic").synthetic_splits(args.num_train, args.num_held_out, seed)
    train, validation, held_out = ([to_problem(row) for row in rows] for rows in load_problems(args))
    return train, validation, {"held_out": held_out}


def conversation(question: str, system_prompt: str) -> list[dict[str, str]]:
    """Returns the messages that a model is asked to continue."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": question}]


def measure_prompts(problems: list[Problem], tokenizer: PreTrainedTokenizerBase, args: MathArguments) -> int:
    """Returns the tokens of the longest prompt; ends with a line on a problem that cannot be asked whole."""
    asked = (
        (problem.where or repr(problem.question), conversation(problem.question, args.system_prompt)) for problem in problems
    )
    return longest_prompt(asked, tokenizer, args.max_prompt_length)


def to_dataset(problems: list[Problem], args: MathArguments) -> Dataset:
    """Returns the training set in TRL's form: `prompt` for the model, `answer` and `where` for the reward functions.

    Args:
        problems: The training problems.
        args: Gives the system prompt.
    """
    prompts = [conversation(problem.question, args.system_prompt) for problem in problems]
    answers, where = [problem.answer for problem in problems], [problem.where for problem in problems]
    return Dataset.from_dict({"prompt": prompts, "answer": answers, "where": where})
