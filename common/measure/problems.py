"""Problems with one right answer, read from rows in any form: GSM8K's solutions, the answer alone, or a boxed one."""

import re
from dataclasses import dataclass
from typing import Any

from common.data.arguments import DataArguments
from common.data.columns import text_of
from common.data.formats import Conversation, Recognised
from common.data.notes import note
from common.data.parts import load_parts
from common.errors import BadRow
from common.measure.math_answers import CALCULATION, boxed_answer, gold_number, last_boxed, plain, read_number, with_usual_boxes

# DAPO's and others' last sentence of a question: "The last line of your response should be of the form Answer: $Answer".
OWN_FORM = re.compile(r"(?i)(?:of the form|after|behind|with|begin with) [\"'`\u201c]?((?:the |final )*answer(?: is)?:)")
NO_ANSWER = "no final answer in column `{}`; end it with `#### ` and a number, or with `\\boxed{{...}}`"


def gold_answer(solution: str) -> str | None:
    r"""Returns the answer of a reference solution, to compare completions with (`math_answers.is_same`).

    Args:
        solution: Worked steps, then `#### ` and the answer (GSM8K: Cobbe et al. 2021, arXiv:2110.14168) or `\boxed{...}` around
            it (MATH: Hendrycks et al. 2021, arXiv:2103.03874); or the answer alone, a number or a calculation.

    Returns:
        A number as `math_answers.read_number` writes it, what a box holds, or a calculation that math-verify reads, such as
        `\frac{\sqrt{3}}{2}`; None if there is none of them.
    """
    number = gold_number(solution)
    if number is not None:
        return number
    last = with_usual_boxes(solution.rpartition("####")[2].strip())
    box = boxed_answer(last)
    if box:
        return box
    alone = last.strip("$ ")
    is_one = CALCULATION.fullmatch(alone) and re.search(r"\d|\\pi", alone) and not re.search(r"\d\s+\d|[-+*/]\s*$", alone)
    return alone if is_one else read_number(plain(alone))


def worked_steps(solution: str) -> str:
    """Returns the worked steps of a solution in GSM8K's form, without calculator notes in << >> and the final answer."""
    return re.sub(r"<<[^>]*>>", "", solution.rpartition("####")[0]).strip()


def with_boxed_answer(solution: str, column: str) -> str:
    r"""Returns a worked solution as it is rewarded: its steps, and the final answer, `#### 42`, as `\boxed{42}`.

    Args:
        solution: As `gold_answer` reads it; one that ends in a box stays as it is, but for `\fbox`.
        column: Where it stands, for errors.

    Raises:
        BadRow: If it gives no answer.
    """
    answer = gold_answer(solution)
    if answer is None:
        raise BadRow(NO_ANSWER.format(column))
    boxed = with_usual_boxes(solution)
    if gold_number(solution) is None and last_boxed(boxed):
        return boxed
    return f"{worked_steps(solution)}\n\\boxed{{{answer}}}".strip()


ANSWER = "the right answer: a number, a calculation, or a solution that ends with `#### ` and it, or has it in a box"


@dataclass(frozen=True)
class RightAnswer:
    """The right answer of a row, where there is no more of the problem."""

    answer: str


def read_right_answer(row: dict[str, Any]) -> RightAnswer:
    """Reads the right answer of a row of completions, as that of a row to train on is read.

    Args:
        row: Holds it in `answer`.

    Raises:
        BadRow: If there is none to compare with.
    """
    answer = gold_answer(text_of(row, "answer"))
    if answer is None:
        raise BadRow(NO_ANSWER.format("answer"))
    return RightAnswer(answer)


def _to_problem(recognised: Recognised, row: dict[str, Any]) -> Conversation:
    """Returns a conversation with the `question`, `solution` and `answer` of a problem."""
    messages = recognised.conversation["messages"]
    roles = [message["role"] for message in messages]
    if roles == ["system", "user", "assistant"]:
        raise BadRow(
            "a system message of its own: the reward compares answers to one prompt; write it as `--system_prompt` or into the "
            "question, and leave it out of the rows"
        )
    if roles != ["user", "assistant"]:
        raise BadRow("not one question and one answer: a reward is given for one turn; split the conversation")
    question, solution = (message["content"] for message in messages)
    answer = gold_answer(solution)
    if answer is None:
        raise BadRow(NO_ANSWER.format(recognised.answer))
    return recognised.conversation | {"question": question, "solution": solution, "answer": answer}


def load_problems(args: DataArguments) -> tuple[list[Conversation], list[Conversation], list[Conversation]]:
    """Loads problems, see `parts.load_parts`.

    Args:
        args: Says which data, and how much of it.

    Returns:
        The training, validation and held-out problems: `question`, `solution` (with its answer), `answer` as `gold_answer`
        returns it, and `where` it stands.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    parts = load_parts(args, _to_problem, preferred="answer")
    asked = parts[0][0]["question"] if parts[0] else ""
    form = OWN_FORM.search(asked)
    if form and "\\boxed" not in asked:
        note(
            f"The first question asks for its answer behind `{form[1]}`, and what is rewarded is a box, `\\boxed{{...}}`: "
            "leave that sentence out of the questions, or few answers are right until a box is learned beside it"
        )
    return parts
