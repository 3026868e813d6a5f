"""How many completions call what is right, and whether a row's own calls would score as right.

The calls of a completion are read in forms.py and compared in compare.py.
"""

import json
from typing import TYPE_CHECKING, Any

from common.data.columns import HEADINGS, heading
from common.data.conversations import check_conversation
from common.data.formats import Conversation, recognise
from common.errors import BadRow
from common.measure.statistics import share

from bfcl import to_check
from calls import Call, Request, calls_of, to_request, turns_of
from code_values import read_arguments
from compare import find_mistake
from forms import ENDING, Form, begun_by, read_any, reply_of, written_turn
from mistakes import Mistake

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# --- What a row must be ---------------------------------------------------------------------------------------------------

# What a row of `recipes score` holds beside `completion`.
REFERENCE = {
    "messages": "the conversation: its last assistant turn is what is right; or, with `answers`, what comes before it",
    "tools": "the tools that may be called, JSON schemas in OpenAI's form (may be left out)",
    "answers": "BFCL's form, in the place of a right turn: {function: {parameter: [accepted values]}} (may be left out)",
    "kind": "`relevance` beside `answers`: any call is right, as in BFCL's live_relevance (may be left out)",
    "language": "`java` or `javascript` beside `answers`: the arguments are texts in its syntax (may be left out)",
}


def read_reference(row: dict[str, Any]) -> dict[str, Any]:
    """Makes what `score` takes of a row of a file.

    Raises:
        BadRow: If there are no messages that can be used, or the right calls are not right by the rules of the score.
    """
    if "messages" not in row:  # as training, which finds the conversation under other names, too
        row = {"messages" if heading(name) in HEADINGS["messages"] else name: cell for name, cell in row.items()}
    kept = {name: row[name] for name in REFERENCE if row.get(name) is not None}
    for name in {"messages", "tools", "answers"} & kept.keys():
        if isinstance(kept[name], str):
            try:
                kept[name] = json.loads(kept[name])
            except ValueError:
                raise BadRow(f"`{name}` is a text that is not JSON; write a list") from None
    kind, language = kept.pop("kind", None), kept.pop("language", None)
    if "answers" not in kept:
        conversation = recognise(kept).conversation if "messages" in kept else kept
        check_conversation(conversation)
        check_gold(conversation)
        return conversation
    if not isinstance(kept.get("messages"), list) or not isinstance(kept["answers"], list):
        raise BadRow("`messages` and `answers` must be lists")
    if language not in (None, "", "java", "javascript"):
        raise BadRow(f"`language` is {language!r:.40}; write java or javascript, or leave it out")
    return (
        kept
        | ({"kind": kind} if kind == "relevance" else {})
        | ({"language": language, "declared": kept.get("tools") or []} if language else {})
    )


def check_gold(conversation: Conversation) -> None:
    """Checks that the calls of a conversation are right by the rules of the score; else the perfect model would score below 1.

    Args:
        conversation: One that `common.data.conversations.check_conversation` has passed.

    Raises:
        BadRow: Says which call is not, and why.
    """
    for turn in turns_of(conversation):
        request = to_request(turn)
        mistake = find_mistake(calls_of(turn["messages"][len(request.messages)]), request.tools, request.answers)
        if mistake:
            raise BadRow(
                f"message {len(request.messages) + 1}: the call is wrong by the rules of the score ({mistake}); mend it, or "
                "the schema of its tool"
            )


def check_survives(row: dict[str, Any], tokenizer: "PreTrainedTokenizerBase", form: Form) -> str:
    """Checks that a right turn still scores as right when the chat template has written it and it is read back.

    Args:
        row: A conversation that ends with the turn that is asked for.
        tokenizer: The model's tokenizer, with its chat template.
        form: The form in which the template writes calls.

    Returns:
        The turn as the template writes it, without what ends it: what a perfect model answers.

    Raises:
        BadRow: If it does not, with what is then wrong.
    """
    request = to_request(row)
    prompt, written = written_turn(row["messages"][: len(request.messages) + 1], request.tools, tokenizer)
    _, (verdict,) = score([row], [begun_by(prompt) + written], form)
    if not verdict["correct"]:
        turn, why = f"message {len(request.messages) + 1}", verdict["mistake"] or "other text"
        raise BadRow(
            f"{turn}: read back from the chat template this turn is wrong ({why}), so the perfect model would score 0; declare "
            "the types of the tool's arguments, change the row, or take another model"
        )
    return ENDING.sub("", written)


# --- The score ------------------------------------------------------------------------------------------------------------


def _read(row: dict[str, Any], request: Request, completion: str, form: Form | None) -> list[Call] | None:
    """Returns the calls of a completion; where BFCL wants none or any, something malformed is no call to it."""
    calls = form.read(completion, request.tools) if form else read_any(completion, request.tools)
    return calls or [] if "answers" in row and not request.answers else calls


def mistake_in(request: Request, calls: list[Call] | None) -> Mistake | None:
    """Returns what is wrong with the calls of a completion, by the rules of what is asked for; None: nothing.

    Args:
        request: What is asked for.
        calls: What `forms.Form.read` returned.
    """
    if request.kind == "relevance":
        return None if calls else Mistake("wrong number of calls", "0 instead of any")
    if not request.language or not calls:
        return find_mistake(calls, request.tools, request.answers)
    read = [read_arguments(call, request.declared, request.language) for call in calls]
    no_text = next((mistake for mistake in read if isinstance(mistake, Mistake)), None)
    return no_text or find_mistake(read, to_check(request.declared), request.answers)


def _is_correct(request: Request, completion: str, mistake: Mistake | None) -> bool:
    """Returns whether the calls are right, and where there is a reply and nothing to call, whether it is the expected one."""
    if request.answers or not request.reply:
        return mistake is None
    return mistake is None and reply_of(completion) == reply_of(request.reply)


def score(
    rows: list[dict[str, Any]], completions: list[str], form: Form | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores completions: the calls of a conversation exactly, those of BFCL by its rules.

    Args:
        rows: What was asked; see `calls.to_request`. Turns of one conversation have its number as `conversation`.
        completions: What the model wrote, one text for each, special tokens included.
        form: The form of the model's own calls; None recognises the form of each completion.

    Returns:
        The metrics, each over the requests it applies to, with their 95 % intervals; and for each row whether it is `correct`,
        and what the `mistake` in its calls is (None: nothing).
        Where calls are right: `exact_call`, of these `parallel_call` where there are several, `function_name`, `valid_json`,
        `relevance` (anything was called). Where none is: `irrelevance` (nothing was called). For generated conversations also
        `asks_back` and `final_answer`, whether the text is the expected one.
    """
    requests = [to_request(row) for row in rows]
    calls = [_read(row, asked, text, form) for row, asked, text in zip(rows, requests, completions, strict=True)]
    mistakes = [mistake_in(asked, made) for asked, made in zip(requests, calls, strict=True)]
    correct = [_is_correct(*one) for one in zip(requests, completions, mistakes, strict=True)]
    needed = [number for number, request in enumerate(requests) if request.answers]
    called = [number for number, request in enumerate(requests) if request.answers or request.kind == "relevance"]
    # By the number of the row.
    metrics = {
        "exact_call": {number: mistakes[number] is None for number in needed},
        "parallel_call": {number: mistakes[number] is None for number in needed if len(requests[number].answers) > 1},
        "function_name": {number: _names_called(calls[number]) == _names_asked(requests[number]) for number in needed},
        "valid_json": {number: bool(calls[number]) for number in needed},
        "relevance": {number: calls[number] != [] for number in called},
        "irrelevance": {
            number: calls[number] == [] for number, asked in enumerate(requests) if asked.kind in ("no_tool", "no_call")
        },
    }
    for name, kind in {"asks_back": "missing_argument", "final_answer": "answer"}.items():
        metrics[name] = {number: correct[number] for number, request in enumerate(requests) if request.kind == kind}
    groups = [row.get("conversation", number) for number, row in enumerate(rows)]
    shares = {
        name: share(list(values.values()), [groups[number] for number in values]) for name, values in metrics.items() if values
    }
    verdicts = [
        {"correct": right, "mistake": mistake and str(mistake)} for right, mistake in zip(correct, mistakes, strict=True)
    ]
    return shares, verdicts


def _names_called(calls: list[Call] | None) -> list[str]:
    return sorted(call.name for call in calls or [])


def _names_asked(request: Request) -> list[str]:
    return sorted(answer.name if isinstance(answer, Call) else next(iter(answer)) for answer in request.answers)
