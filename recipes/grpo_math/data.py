"""Math problems with a number as the answer: GSM8K, a file of your own, or generated ones."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.data import load_rows
from common.errors import fail

from datasets import Dataset
from transformers import PreTrainedTokenizerBase


@dataclass
class MathArguments:
    """The recipe's own settings; GRPO's are TRL's `GRPOConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, or a local file with the columns `question` and `answer`."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub data set that has several."})
    num_train: int = field(default=0, metadata={"help": "Training problems; 0 means all there are."})
    num_held_out: int = field(default=400, metadata={"help": "Problems in each held-out set."})
    system_prompt: str = field(default="", metadata={"help": "What the model is told before the question; may be empty."})
    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt in tokens; a longer one is an error."})


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


# --- Generated problems -------------------------------------------------------------------------------------------------

NAMES = ["Ada", "Ben", "Eli", "Eva", "Ida", "Leo", "Max", "Mia", "Sam", "Zoe"]
THINGS = ["apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps"]
CONTAINERS = ["bags", "bins", "boxes", "jars"]

# The operations are applied from left to right: "*-" is a * b - c.
KINDS = [
    ("+", "{name} has {a} {things}. {friend} gives {name} {b} more. How many {things} does {name} have now?"),
    ("-", "{name} has {a} {things}. {name} gives {b} of them to {friend}. How many {things} are left?"),
    ("*", "{name} has {a} {containers}. There are {b} {things} in each. How many {things} does {name} have?"),
    (
        "++",
        "{name} has {a} {things}. {friend} has {b} more than {name} and then buys {c}. How many does {friend} have?",
    ),
    ("+-", "{name} finds {a} {things} and {friend} finds {b}. Together they sell {c}. How many {things} are left?"),
    (
        "*+",
        "{name} has {a} {containers} with {b} {things} in each. {friend} adds {c} {things}. How many are there now?",
    ),
    ("*-", "{name} fills {a} {containers} with {b} {things} each. Then {c} {things} break. How many are whole?"),
]


def is_reserved(numbers: tuple[int, ...]) -> bool:
    """Returns whether a combination of numbers (in this order) is kept out of training: about one in ten is."""
    return sum(weight * number for weight, number in zip((3, 5, 7), numbers, strict=False)) % 10 == 0


def _generate(rng: random.Random) -> tuple[Problem, tuple[int, ...]]:
    operations, template = rng.choice(KINDS)
    name, friend = rng.sample(NAMES, 2)
    a, b, c = (rng.randint(2, 9) for _ in range(3))
    if operations == "-":
        a = a + b
    if operations.endswith("-") and len(operations) == 2:
        c = min(c, (a * b if operations[0] == "*" else a + b) - 1)
    numbers = (a, b, c)[: len(operations) + 1]
    steps, total = [], a
    for operation, number in zip(operations, numbers[1:], strict=True):
        result = {"+": total + number, "-": total - number, "*": total * number}[operation]
        steps.append(f"{total}{operation}{number}={result}")
        total = result
    question = template.format(
        name=name, friend=friend, a=a, b=b, c=c, things=rng.choice(THINGS), containers=rng.choice(CONTAINERS)
    )
    return Problem(question, "\n".join(steps), str(total)), numbers


def generate_problems(
    count: int, seed: int, *, reserved_numbers: bool = False, exclude: frozenset[str] = frozenset()
) -> list[Problem]:
    """Generates distinct word problems of one or two steps with numbers from 2 to 18.

    Args:
        count: How many.
        seed: The same seed gives the same problems.
        reserved_numbers: Draw only from the combinations of numbers that are kept out of training, instead of the others.
        exclude: Questions that must not appear.
    """
    rng = random.Random(seed)
    questions, problems = set(exclude), []
    while len(problems) < count:
        problem, numbers = _generate(rng)
        if is_reserved(numbers) == reserved_numbers and problem.question not in questions:
            questions.add(problem.question)
            problems.append(problem)
    return problems


def synthetic_splits(num_train: int, num_held_out: int, seed: int) -> tuple[list[Problem], dict[str, list[Problem]]]:
    """Generates the training problems and two held-out sets.

    Args:
        num_train: Number of training problems.
        num_held_out: Number of problems in each held-out set; these sets are the same for every `seed`.
        seed: Seed of the training problems.

    Returns:
        The training problems, and by name: `held_out`, questions never seen in training, and `unseen_numbers`, questions whose
        combination of numbers was never seen either.
    """
    held_out = generate_problems(num_held_out, seed=1)
    unseen_numbers = generate_problems(num_held_out, seed=2, reserved_numbers=True)
    train = generate_problems(num_train, seed=1000 + seed, exclude=frozenset(p.question for p in held_out))
    return train, {"held_out": held_out, "unseen_numbers": unseen_numbers}


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
