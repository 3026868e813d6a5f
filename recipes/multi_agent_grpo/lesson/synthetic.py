"""Generated word problems of four kinds, of which not every way of working suits all."""

import random
from collections.abc import Collection, Iterable
from pathlib import Path

from common.data.lesson import draw_distinct
from common.data.questions import digest_of
from common.data.splits import size_of_part

from data import Problem

NAMES = ["Ada", "Ben", "Eli", "Eva", "Ida", "Leo", "Max", "Mia", "Sam", "Zoe"]
THINGS = ["apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps"]
CONTAINERS = ["bags", "bins", "boxes", "jars"]
BASE_KEYS = Path(__file__).parent / "tiny_base" / "questions.keys"
KEY_BYTES = 3  # of a hash: a question that is not among 112,000 has the key of one of them in one case of 150, and is not used
KINDS = ["short", "unknown", "detour", "long"]

# What is told of a quantity that comes (+) or goes (-).
EVENTS = {
    "+": ["{friend} adds {n}", "{name} finds {n}", "{name} buys {n}"],
    "-": ["{friend} takes {n}", "{name} loses {n}", "{name} sells {n}"],
}


def _start(name: str, words: dict[str, str], numbers: tuple[int, ...], multiply: bool) -> str:
    if multiply:
        return f"{name} has {numbers[0]} {words['containers']} with {numbers[1]} {words['things']} each."
    return f"{name} has {numbers[0]} {words['things']}."


def _generate(rng: random.Random) -> Problem:
    name, friend = rng.sample(NAMES, 2)
    words = {"things": rng.choice(THINGS), "containers": rng.choice(CONTAINERS)}
    kind = rng.choice(KINDS)
    draw = [rng.randint(2, 9) for _ in range(5)]
    if kind == "unknown":
        boxes, each, over = draw[:3]
        total = boxes * each + over
        question = (
            f"{name} fills {boxes} {words['containers']} with the same number of {words['things']}. {over} are over. "
            f"There are {total} in all. How many are in each?"
        )
        return Problem(question, str(each), kind, (boxes, over, total), "")
    if kind == "detour":
        numbers = (draw[0], *(number for pair in draw[1:4] for number in (pair, pair)), draw[4])
        operations = "+-" * 3 + "+"
    elif kind == "short":
        numbers, operations = tuple(draw[:3]), rng.choice(["*+", "*-", "++", "+-"])
    else:
        numbers, operations = tuple(draw), "*" + "".join(rng.choice("+-") for _ in range(3))
    total = numbers[0]
    for operation, number in zip(operations, numbers[1:], strict=True):
        total = {"+": total + number, "-": total - number, "*": total * number}[operation]
        if total < 2:
            return _generate(rng)  # nobody can give away what is not there
    told = [_start(name, words, numbers, operations[0] == "*")]
    skipped = operations[0] == "*"
    for operation, number in list(zip(operations, numbers[1:], strict=True))[skipped:]:
        told.append(rng.choice(EVENTS[operation]).format(name=name, friend=friend, n=number) + ".")
    return Problem(" ".join([*told, "How many are there?"]), str(total), kind, numbers, operations)


def key_of(question: str) -> bytes:
    """Returns the first bytes of a question's hash, by which it is kept out of what it must not be in."""
    return digest_of(question)[:KEY_BYTES]


def keys_of(problems: Iterable[Problem]) -> set[bytes]:
    """Returns the keys of some problems' questions."""
    return {key_of(problem.question) for problem in problems}


def base_keys() -> set[bytes]:
    """Returns the keys of the questions on which lesson/tiny_base was trained; see make_tiny_base.py."""
    keys = BASE_KEYS.read_bytes()
    return {keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES)}


def generate_problems(count: int, seed: int, exclude: Collection[bytes] = ()) -> list[Problem]:
    """Generates distinct word problems; each kind is as likely as the others.

    The kinds: `short` has two operations, `long` four; in `detour` what comes goes again, three times, before the last gain;
    in `unknown` the story ends with a total and asks for what was in it.

    Args:
        count: How many.
        seed: The same seed gives the same problems.
        exclude: Keys of questions that must not appear; see `key_of`.
    """
    rng = random.Random(seed)

    def draw() -> Problem:
        while key_of((problem := _generate(rng)).question) in exclude:
            pass
        return problem

    return draw_distinct(draw, lambda problem: problem.question, count)


def synthetic_splits(
    num_train: int, num_held_out: int, seed: int
) -> tuple[list[Problem], list[Problem], dict[str, list[Problem]]]:
    """Generates the training problems, the validation problems and the held-out set, of which no two share a question.

    What is measured is not among the questions of the base's own training either.

    Args:
        num_train: Number of training problems.
        num_held_out: Number of held-out problems; they are the same for every `seed`.
        seed: Seed of the training problems.

    Returns:
        As `data.load_data`.
    """
    taken = base_keys()
    held_out = generate_problems(num_held_out, seed=1, exclude=taken)
    validation = generate_problems(size_of_part(num_train, num_held_out), seed=3, exclude=taken | keys_of(held_out))
    train = generate_problems(num_train, seed=1000 + seed, exclude=keys_of([*held_out, *validation]))
    return train, validation, {"held_out": held_out}
