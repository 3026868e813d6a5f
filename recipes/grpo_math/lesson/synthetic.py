"""Generated word problems of one or two steps, and sets of them that are never trained on."""

import random

from common.data.lesson import draw_distinct
from common.data.splits import size_of_part

from data import Problem

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

    def draw() -> Problem:
        while True:
            problem, numbers = _generate(rng)
            if is_reserved(numbers) == reserved_numbers:
                return problem

    return draw_distinct(draw, lambda problem: problem.question, count, exclude)


def synthetic_splits(
    num_train: int, num_held_out: int, seed: int
) -> tuple[list[Problem], list[Problem], dict[str, list[Problem]]]:
    """Generates the training problems, the validation problems and two held-out sets.

    Args:
        num_train: Number of training problems.
        num_held_out: Number of problems in each held-out set; these sets are the same for every `seed`.
        seed: Seed of the training problems.

    Returns:
        The training problems, those of the validation, which are in no other set, and by name: `held_out`, questions never seen
        in training, and `unseen_numbers`, questions whose combination of numbers was never seen either.
    """
    held_out = generate_problems(num_held_out, seed=1)
    unseen_numbers = generate_problems(num_held_out, seed=2, reserved_numbers=True)
    train = generate_problems(num_train, seed=1000 + seed, exclude=frozenset(p.question for p in held_out))
    others = frozenset(problem.question for problem in [*held_out, *train])
    validation = generate_problems(size_of_part(num_train, num_held_out), seed=3, exclude=others)
    return train, validation, {"held_out": held_out, "unseen_numbers": unseen_numbers}
