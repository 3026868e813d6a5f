"""Answers to math problems: the number of a reference solution, the box of a completion, and whether two are equal."""

import ast
import operator
import re
from fractions import Fraction
from functools import lru_cache

from common.measure.numbers import LONGEST, last_number, read_number, read_quantity
from common.measure.text import fold, without_thoughts
from common.measure.units import read_unit

# --- LaTeX ----------------------------------------------------------------------------------------------------------------

LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|tt)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname|emph|bf|bm|boldsymbol|underline|textcolor\{\w+\})"
    r"\s*\{([^{}]*)\}"
)
LATEX_SPACE = re.compile(r"(?<!\\)\\[,;: ]|~|\\q?quad\b|\\(?:left|right|displaystyle)(?![a-zA-Z])")
# Of digits, but not where 1/2 would be something else: in \frac{1}{2}\sqrt{3} and in 6 \div \frac{1}{2}.
FRACTION = re.compile(
    r"(?<![/÷])(?<![/÷] )(?<!\\div)(?<!\\div )"
    r"\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d)\s*(\d))(?! *[\\^(π\d])"
)
IN_SENTENCE = re.compile(
    r"(?<![/÷^])(?<!\^\{)\\[dtc]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"
    r"(?!\w)(?! *(?:\\(?:sqrt|pi|times|cdot|div|left|[dtc]?frac)|[\^(π]))"
)
POWER_OF_TEN = re.compile(r"(?<=\d) ?(?:\\times|\\cdot|[\u00d7·*]) ?10 ?\^ ?(?:\{ ?([-+]?\d{1,3}) ?\}|([-+]?\d{1,3}))(?!\d)")
DEGREES = re.compile(r"\^ ?\{? ?\\circ ?\}?|\\degree\b")
AROUND = re.compile(r"(\*\*|[$*])(.+)\1|\\[(\[](.+)\\[)\]]")
LABEL = re.compile(
    r"(?:[^\W\d_][^\W\d_ ]*(?:_\{?\w\}?)?(?:\([a-z]\))?|[^\W\d_][^\W\d_ ]*(?: [^\W\d_]+){1,4}|\\[a-z]+)? ?(?:[=:≈]|\\in\b) ?"
)


def _inner(text: str) -> str:
    """Returns a text without the marks of markdown or LaTeX around all of it."""
    found = AROUND.fullmatch(text)
    return (found[2] or found[3]) if found else text


def as_typed(sentence: str) -> str:
    r"""Returns a sentence with `1/2` for `\frac{1}{2}`, where it is no factor and no exponent, and `e3` for `\times 10^3`."""

    def typed(found: re.Match) -> str:
        is_mixed = sentence[: found.start()][-1:].isdigit()  # 3\frac{1}{2}
        return f"{' ' * is_mixed}{found[1]}/{found[2]}"

    return IN_SENTENCE.sub(typed, POWER_OF_TEN.sub(r"e\1\2", sentence))


@lru_cache(1 << 16)
def plain(latex: str) -> str:
    r"""Returns an answer in LaTeX as one would type it, as far as it is numbers and words.

    Spaces and fonts go, `\$`, `\%` and `^\circ` become signs, fractions of digits `1/2`, `\times 10^{3}` becomes `e3`, and the
    name of a variable or a label before `=` or `:` is left out (`x = 5`).

    Args:
        latex: What is in a box.
    """
    if len(latex) > 5 * LONGEST:
        return latex
    text = fold(latex.replace("{,}", ",").replace("\\!", "").replace("\\$", "$").replace("\\%", "%").replace("\\&", "&"))
    text = re.sub(r"\^ ?\{ ?(\d) ?\}(?!\d)", r"^\1", text)  # \mathrm{cm^{2}}
    text = text.replace("\\approx", "≈")
    for _ in range(2):  # \text{\textbf{18}}
        text = LATEX_TEXT.sub(r" \1 ", text)
    text = DEGREES.sub("°", LATEX_SPACE.sub(" ", text))
    text = FRACTION.sub(lambda found: f" {found[1] or found[3]}/{found[2] or found[4]}", text)
    text = POWER_OF_TEN.sub(r"e\1\2", text)
    text = re.sub(r"^([-+]) ", r"\1", " ".join(_inner(text.strip()).split()))
    label = LABEL.match(text)
    return text[label.end() :] if label else text


def gold_number(solution: str) -> str | None:
    """Returns the number of a reference solution in GSM8K's form, as `read_number` writes it.

    Args:
        solution: Worked steps, then `#### ` and the answer (Cobbe et al. 2021, arXiv:2110.14168); or the answer alone.

    Returns:
        The number, or None if there is none.
    """
    return read_number(solution.rpartition("####")[2].strip().partition("\n")[0])


# --- Boxes ----------------------------------------------------------------------------------------------------------------

BOX = re.compile(r"\\boxed\s*\{")
USUAL = re.compile(r"\\(?:fbox|boxed)(?![a-zA-Z])\s*(?:\{|([^\s{}$\\.,]+(?:[.,]\d+)*))")


def with_usual_boxes(solution: str) -> str:
    r"""Returns a solution with `\boxed{2}` in the place of `\fbox{2}` and `\boxed 2`, which MATH has beside it."""
    return USUAL.sub(lambda found: f"\\boxed{{{found[1]}}}" if found[1] else "\\boxed{", solution)


def boxes_of(text: str) -> list[int]:
    r"""Returns where the boxes of a text begin, `\boxed{` or `\boxed {`."""
    return [found.start() for found in BOX.finditer(text)]


def last_boxed(text: str) -> str | None:
    r"""Returns what the last `\boxed{...}` of a text holds, its braces balanced; None if there is none or it is not closed."""
    start = next((found.end() for found in reversed(list(BOX.finditer(text)))), None)
    if start is None:
        return None
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return None


# --- Calculations ---------------------------------------------------------------------------------------------------------

# What math-verify is asked about: a short calculation in LaTeX. Of words, commas and equations it would take the last number,
# and towers of exponents, factorials and high powers of sums with roots it would calculate for seconds.
CALCULATION = re.compile(
    r"(?!.*\^.*\^)(?!.*\d{16})(?!(?:.*[({]){12})(?!.*[-+] *[-+] *[-+])"
    r"(?:[\d\s.+\-*/(){}]|\^(?:\d|\{\d\})(?!\d)|(?<=\d)(?<!\d{5})\^\{-?\d\d?\}(?![.\d])|\\(?:[dt]?frac|sqrt|cdot|times|div|pi)(?![a-zA-Z])){1,64}"
)
TYPED = {"\u00d7": r"\times ", "÷": r"\div ", "·": r"\cdot ", "π": r"\pi ", "*": r"\cdot "}
WITH_UNIT = re.compile(r"(.{1,60}(?:[)}π]|\\pi))( [^\W\d_].{0,60})")

OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def calculate(text: str) -> Fraction | None:
    """Returns the result of a short calculation of numbers with + - * / ^ and brackets, exactly; None for anything else."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return Fraction(ast.get_source_segment(typed, node))
        raise ValueError

    typed = re.sub(r"\\(?:times|cdot)", "*", text).replace("\\div", "/").strip()
    typed = re.sub(r"\^(?:\{(-?\d{1,2})\}|(\d))", r"**\1\2", typed)
    try:
        return value(ast.parse(typed, mode="eval").body)
    except (ValueError, SyntaxError, ZeroDivisionError, OverflowError):
        return None


def _typed(text: str) -> str:
    """Returns a text with LaTeX's names for the signs of calculations that have a character."""
    return re.sub(f"[{''.join(TYPED)}]", lambda found: TYPED[found[0]], text)


def _result(text: str) -> str | None:
    r"""Returns what calculations come to that are all equal, `9 \times 2 = 18`; None for anything else, such as `17 = 18`."""
    steps = _typed(text.replace("$", "")).split("=")
    if len(text) > LONGEST or len(steps) < 2 or read_number(steps[0]) or not all(map(CALCULATION.fullmatch, steps)):
        return None
    results = {calculate(step) for step in steps}
    return read_number(steps[-1]) if len(results) == 1 and None not in results else None


def _without_unit(text: str) -> str:
    r"""Returns a calculation without the unit behind it, as numbers are read: `24\pi cm^2` is `24\pi`."""
    found = WITH_UNIT.fullmatch(text)
    unit = found and CALCULATION.fullmatch(_typed(found[1])) and read_unit(found[2], is_money=False)
    return found[1] if unit and unit[0] == 1 else text


@lru_cache(1 << 16)
def boxed_answer(text: str) -> str | None:
    """Returns the answer in the last box of a completion: as `read_number` writes it if it is a number, else `plain`.

    Args:
        text: A completion, or a reference solution; a box in a thought does not count.

    Returns:
        The answer; None if there is no box, or it is empty or not closed.
    """
    box = plain((last_boxed(without_thoughts(text)) or "").strip())
    return read_number(box) or _result(box) or _without_unit(box) or None


# --- Equality -------------------------------------------------------------------------------------------------------------

CHOICE = re.compile(r"\(([A-Za-z])\)\.?|([A-Za-z])[.)]")  # (B), B. and B)


def _squeezed(text: str) -> str:
    r"""Returns an answer without what is only typography: spaces but those between digits, and braces around one character."""
    choice = CHOICE.fullmatch(text)
    text = (choice[1] or choice[2]) if choice else re.sub(r"(?<!\d) | (?!\d)", "", text.replace("\\dfrac", "\\frac"))
    return text.casefold() if text.isalpha() else re.sub(r"\{(\w)\}", r"\1", text)


@lru_cache(1 << 16)
def is_same(answer: str | None, other: str | None) -> bool:
    """Returns whether two answers are equal: as text, spaces and the case of words aside, as numbers, or as calculations.

    What has roots, powers or fractions of fractions is asked of https://github.com/huggingface/Math-Verify.

    Args:
        answer: What `boxed_answer` or `gold_number` returned.
        other: Another one. No answer equals none.
    """
    if answer is None or other is None:
        return False
    if answer == other:  # most right answers are: spare them a millisecond of parsing
        return True
    numbers = read_quantity(answer), read_quantity(other)
    if all(numbers):
        return numbers[0].value == numbers[1].value
    if max(len(answer), len(other)) > LONGEST:
        return False
    if _squeezed(answer) == _squeezed(other):
        return True
    typed = [_typed(answer), _typed(other)]
    if not all(map(CALCULATION.fullmatch, typed)):
        return False
    results = [calculate(text) for text in typed]
    if None not in results:
        return results[0] == results[1]
    from math_verify import LatexExtractionConfig, parse, verify  # takes a second to import, and most answers do without

    found, expected = (
        parse(f"\\boxed{{{text}}}", extraction_config=[LatexExtractionConfig()], raise_on_error=False) for text in typed
    )
    return bool(found and expected) and verify(expected, found, raise_on_error=False)


def gives(text: str, answer: str) -> bool:
    """Returns whether the last number of a completion, boxed or not, equals an answer.

    Args:
        text: A completion; a number in a thought does not count.
        answer: What `gold_number` returned.
    """
    found = last_number(as_typed(without_thoughts(text)))
    return found is not None and is_same(found.text, answer)
