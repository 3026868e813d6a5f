"""Small problems that are asked in one language and thought through in another: six languages, six scripts."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, product
from typing import Any

from common.data.formats import Conversation
from common.data.splits import size_of_part
from common.errors import fail

from arguments import MultilingualArguments
from data import add_others
from metrics import INSTRUCTION


@dataclass(frozen=True)
class Phrases:
    """How a language asks, thinks and answers; sums are written alike everywhere, and no word changes with a number.

    Attributes:
        items: The things that are counted.
        places: Where they lie.
        start: How many there are; the first sentence of a question.
        steps: What is done, for `+` and `-`.
        ask: The question itself.
        think_start: The first sentence of a thought.
        think_steps: What a step gives, for `+` and `-`.
        answer: The whole answer.
        space: What stands between sentences.
    """

    items: list[str]
    places: list[str]
    start: str
    steps: dict[str, str]
    ask: str
    think_start: str
    think_steps: dict[str, str]
    answer: str
    space: str = " "


PHRASES = {
    "English": Phrases(
        items=["apples", "oranges", "lemons", "potatoes", "eggs", "spoons"],
        places=["the basket", "the box", "the bag", "the bowl"],
        start="In {place} there are {a} {items}.",
        steps={"+": "We add {b}.", "-": "We take away {b}."},
        ask="How many are there now?",
        think_start="I count the {items}.",
        think_steps={"+": "Adding {b} gives {a}+{b}={c}.", "-": "Taking away {b} leaves {a}-{b}={c}."},
        answer="In {place} there are now {c} {items}.",
    ),
    "Russian": Phrases(
        items=["яблоки", "апельсины", "лимоны", "картофелины", "яйца", "ложки"],
        places=["корзине", "коробке", "сумке", "миске"],
        start="В {place} лежат {items}: {a}.",
        steps={"+": "Мы добавляем {b}.", "-": "Мы забираем {b}."},
        ask="Сколько их теперь?",
        think_start="Считаю {items}.",
        think_steps={"+": "Прибавляю {b}, получаю {a}+{b}={c}.", "-": "Вычитаю {b}, остаётся {a}-{b}={c}."},
        answer="Теперь в {place} лежат {items}: {c}.",
    ),
    "Greek": Phrases(
        items=["μήλα", "πορτοκάλια", "λεμόνια", "πατάτες", "αυγά", "κουτάλια"],
        places=["Στο καλάθι", "Στο κουτί", "Στην τσάντα", "Στο μπολ"],
        start="{place} υπάρχουν {a} {items}.",
        steps={"+": "Προσθέτουμε {b}.", "-": "Αφαιρούμε {b}."},
        ask="Ποιος είναι ο αριθμός τώρα;",
        think_start="Μετράω: {items}.",
        think_steps={"+": "Προσθέτω {b} και βρίσκω {a}+{b}={c}.", "-": "Αφαιρώ {b} και μένουν {a}-{b}={c}."},
        answer="{place} υπάρχουν τώρα {c} {items}.",
    ),
    "Chinese": Phrases(
        items=["苹果", "橙子", "柠檬", "土豆", "鸡蛋", "勺子"],
        places=["篮子里", "盒子里", "袋子里", "碗里"],
        start="{place}有{a}个{items}。",
        steps={"+": "我们放进{b}个。", "-": "我们拿走{b}个。"},
        ask="现在有几个？",
        think_start="我来数{items}。",
        think_steps={"+": "加上{b}个，得到{a}+{b}={c}。", "-": "减去{b}个，剩下{a}-{b}={c}。"},
        answer="{place}现在有{c}个{items}。",
        space="",
    ),
    "Hindi": Phrases(
        items=["सेब", "संतरे", "नींबू", "आलू", "अंडे", "चम्मच"],
        places=["टोकरी", "डिब्बे", "थैले", "कटोरे"],
        start="{place} में {a} {items} हैं।",
        steps={"+": "हम {b} जोड़ते हैं।", "-": "हम {b} निकालते हैं।"},
        ask="अब संख्या क्या है?",
        think_start="मुझे {items} गिनने हैं।",
        think_steps={"+": "{b} जोड़ने पर {a}+{b}={c} मिलता है।", "-": "{b} घटाने पर {a}-{b}={c} बचता है।"},
        answer="{place} में अब {c} {items} हैं।",
    ),
    "Korean": Phrases(
        items=["사과", "오렌지", "레몬", "감자", "달걀", "숟가락"],
        places=["바구니", "상자", "가방", "그릇"],
        start="{place}에 {items} {a}개가 있습니다.",
        steps={"+": "{b}개를 더합니다.", "-": "{b}개를 뺍니다."},
        ask="지금은 몇 개입니까?",
        think_start="{items} 개수를 셉니다.",
        think_steps={"+": "{b}개를 더하면 {a}+{b}={c}개입니다.", "-": "{b}개를 빼면 {a}-{b}={c}개입니다."},
        answer="{place}에 지금 {items} {c}개가 있습니다.",
    ),
}
LANGUAGES = list(PHRASES)


# --- Problems -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A problem, in no language yet.

    Attributes:
        item: Position in `items`.
        place: Position in `places`.
        start: How many there are.
        steps: What is done: `+` or `-`, and a number.
    """

    item: int
    place: int
    start: int
    steps: tuple[tuple[str, int], ...]


def all_problems() -> list[Problem]:
    """Returns every problem, always in the same random order."""
    numbers = range(2, 10)
    problems = []
    for item, place, start, first, second in product(range(6), range(4), numbers, numbers, numbers):
        if start + first - second >= 2:
            problems.append(Problem(item, place, start, (("+", first), ("-", second))))
        if start - first >= 2:
            problems.append(Problem(item, place, start, (("-", first), ("+", second))))
    random.Random(0).shuffle(problems)
    return problems


def _sums(problem: Problem) -> Iterator[dict[str, Any]]:
    number = problem.start
    for sign, other in problem.steps:
        result = number + other if sign == "+" else number - other
        yield {"sign": sign, "a": number, "b": other, "c": result}
        number = result


def to_conversation(problem: Problem, asked_in: str, thinks_in: str) -> Conversation:
    """Writes a problem in two languages.

    Args:
        problem: The problem.
        asked_in: Language of the question and of the answer.
        thinks_in: Language of the thought, which the system message asks for.

    Returns:
        `messages`, the last with its `thinking`, and the two languages.
    """
    asks, thinks = PHRASES[asked_in], PHRASES[thinks_in]
    sums = list(_sums(problem))
    words = {"place": asks.places[problem.place], "items": asks.items[problem.item], "a": problem.start, "c": sums[-1]["c"]}
    steps = [asks.steps[step["sign"]].format(**step) for step in sums]
    thought = [thinks.think_start.format(items=thinks.items[problem.item])]
    thought += [thinks.think_steps[step["sign"]].format(**step) for step in sums]
    question = asks.space.join([asks.start.format(**words), *steps, asks.ask])
    return {
        "messages": [
            {"role": "system", "content": INSTRUCTION.format(thinks_in)},
            {"role": "user", "content": question},
            {"role": "assistant", "thinking": thinks.space.join(thought), "content": asks.answer.format(**words)},
        ],
        "thinking_language": thinks_in,
        "question_language": asked_in,
    }


def generate(problems: list[Problem], count: int, thinking_languages: list[str], seed: str) -> list[Conversation]:
    """Returns conversations whose problem, question language and thinking language are drawn independently.

    Args:
        problems: What may be asked.
        count: How many.
        thinking_languages: The languages to think in; questions come in all languages.
        seed: What the draw follows from.
    """
    return [to_conversation(*drawn) for drawn in _draw(problems, count, thinking_languages, seed)]


def _draw(problems: list[Problem], count: int, thinking_languages: list[str], seed: str) -> list[tuple[Problem, str, str]]:
    rng = random.Random(seed)
    return [(rng.choice(problems), rng.choice(LANGUAGES), rng.choice(thinking_languages)) for _ in range(count)]


def ask_in_turn(problems: list[Problem], thinking_languages: list[str]) -> list[Conversation]:
    """Returns each problem once; all pairs of a question language and a thinking language come equally often."""
    pairs = cycle(product(LANGUAGES, thinking_languages))
    return [to_conversation(problem, *pair) for problem, pair in zip(problems, pairs, strict=False)]


def synthetic_splits(
    args: MultilingualArguments, seed: int
) -> tuple[list[Conversation], list[Conversation], dict[str, list[Conversation]]]:
    """Generates the training conversations, those of the validation and the held-out sets.

    Args:
        args: Says how many, and which languages to think in.
        seed: Seed of the training conversations; the held-out ones are the same for every seed.

    Returns:
        As `data.load_data`.

    Raises:
        SystemExit: With code 2 and one line for settings that do not fit.
    """
    problems = all_problems()
    if args.num_train < 1:
        fail(f"num_train is {args.num_train}: say how many problems to generate, for example --num_train 19200")
    if args.num_held_out > len(problems) // 2:
        fail(f"num_held_out is {args.num_held_out}: there are {len(problems)} problems; hold out at most {len(problems) // 2}")
    for language in args.thinking_languages:
        if language not in LANGUAGES:
            fail(f"thinking_languages: no problems are generated in {language}; there is: {', '.join(LANGUAGES)}")
    trained = args.thinking_languages or LANGUAGES
    others = [language for language in LANGUAGES if language not in trained]
    # A problem that is held out is so in every language.
    asked, problems = problems[: args.num_held_out], problems[args.num_held_out :]
    held_out = {"held_out": ask_in_turn(asked, trained)}
    num_others = round(args.num_train * args.other_share) if others else 0
    drawn = _draw(problems, args.num_train - num_others, trained, f"train {seed}")
    drawn_others = _draw(problems, num_others, others, f"others {seed}")
    train = [to_conversation(*those) for those in drawn]
    if others:
        held_out["other_languages"] = ask_in_turn(asked, others)
        train = add_others(train, [to_conversation(*those) for those in drawn_others], args, seed)
    # Chosen by problems that are trained in no language either.
    in_training = {problem for problem, _, _ in drawn + drawn_others}
    left = [problem for problem in problems if problem not in in_training]
    if not left:
        fail(f"num_train is {args.num_train}: every problem would be trained and none be left to choose by; use fewer")
    return train, ask_in_turn(left[: size_of_part(args.num_train, args.num_held_out)], trained), held_out
