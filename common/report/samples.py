"""The kept samples of a run: each problem with its answers at every evaluation."""

import json
from collections import Counter
from typing import Any

SHOWN = 4  # problems that stand in the page's own text, for readers without a script
OUTCOMES = {
    (False, True): "went from wrong to right",
    (True, True): "right both times",
    (False, False): "still wrong",
    (True, False): "went from right to wrong",
}
OF_PROBLEM = ("split", "question", "answer", "gold_calls")
OF_ANSWER = ("completion", "correct", "score", "marked", "calls", "mistake")
ROOM = 900_000  # characters of the page for what was answered, and as many for pictures


def problems_of(samples: list[dict[str, Any]]) -> tuple[list[int], list[dict[str, Any]]]:
    """Returns the steps of the evaluations in their order, and the problems with their answers at each.

    Args:
        samples: The rows of samples.jsonl. The last evaluation stands last whatever its step: it is that of the kept weights.
            A row has `step`, `split`, `question`, `answer`, `completion`, `correct`. It may have `id`, which tells samples of
            one question apart; `image`, a data URI that is shown above the question; `marked`, the completion as pairs of a
            kind ("equal", "wrong", or "missing" for what it should have said) and a text; `calls` and `gold_calls`, the calls
            of tools that were made and that were right, each a `name` and `arguments`; and `mistake`, what is wrong in a word.

    Returns:
        Steps, and for each problem `split`, `question`, `answer`, perhaps `image`, and `answers`: for each step what the row
        says of it, or None.
    """
    by_step: dict[int, dict] = {}
    step = None
    for sample in samples:
        if sample["step"] != step:
            step, asked = sample["step"], Counter()
            by_step[step] = by_step.pop(step, {})
        # The same question may be asked twice: samples without an `id` are told apart by which time it is.
        name = sample.get("id", sample["question"])
        asked[sample["split"], name] += 1
        by_step[step][sample["split"], name, asked[sample["split"], name]] = sample
    return list(by_step), by_column(list(by_step.values()))


def by_column(columns: list[dict[Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Returns problems as `problems_of` does, one answer for each column.

    Args:
        columns: Of each its samples, by what names a problem.
    """
    problems: dict[Any, dict[str, Any]] = {}
    for number, found in enumerate(columns):
        for name, sample in found.items():
            problem = problems.setdefault(name, _problem(sample) | {"answers": [None] * len(columns)})
            problem["answers"][number] = {key: sample[key] for key in OF_ANSWER if sample.get(key) is not None}
    return list(problems.values())


def _problem(sample: dict[str, Any]) -> dict[str, Any]:
    problem = {key: sample[key] for key in OF_PROBLEM if key in sample}
    if str(sample.get("image", "")).startswith("data:image/"):  # nothing is fetched
        problem["image"] = sample["image"]
    return problem


def outcomes(problems: list[dict[str, Any]]) -> Counter:
    """Returns how many problems went from wrong to right and so on, of those that were answered first and last."""
    return Counter(outcome(problem) for problem in problems if len(problem["answers"]) > 1 and both(problem))


def both(problem: dict[str, Any]) -> bool:
    """Returns whether a problem was answered at the first evaluation and at the last."""
    return problem["answers"][0] is not None and problem["answers"][-1] is not None


def outcome(problem: dict[str, Any]) -> str:
    """Returns what became of a problem that was answered first and last."""
    return OUTCOMES[bool(problem["answers"][0]["correct"]), bool(problem["answers"][-1]["correct"])]


def chosen(problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what is shown as plain text: mended problems first, but always a wrong one if any is left."""
    answered = sorted(filter(both, problems), key=lambda problem: problem["answers"][0]["correct"])
    right = [problem for problem in answered if problem["answers"][-1]["correct"]]
    wrong = [problem for problem in answered if not problem["answers"][-1]["correct"]]
    shown = right[: SHOWN - bool(wrong)]
    return shown + wrong[: SHOWN - len(shown)]


def fitting(labels: list[str], problems: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns problems as the page's script shows them, within `ROOM`: evaluations and pictures beyond it are left out.

    Args:
        labels: What stands above each answer: the evaluations, or the runs that are compared.
        problems: As `problems_of` returns them.

    Returns:
        `columns`, `problems`, and `left_out`, a sentence, empty if nothing is.
    """
    sizes = [sum(len(json.dumps(problem["answers"][number])) for problem in problems) for number in range(len(labels))]
    every = 1
    while sum(sizes[number] for number in _kept(len(labels), every)) > ROOM and every < len(labels):
        every *= 2
    kept, room, without = _kept(len(labels), every), ROOM, 0
    found = []
    for problem in problems:
        problem = problem | {"answers": [problem["answers"][number] for number in kept]}
        room -= len(problem.get("image", ""))
        if "image" in problem and room < 0:
            without += 1
            del problem["image"]
        found.append(problem)
    left_out = [f"{len(labels) - len(kept)} evaluations between the first and the last"] if len(kept) < len(labels) else []
    left_out += [f"{without} pictures"] if without else []
    text = f"Left out, so that the page stays small: {' and '.join(left_out)}; samples.jsonl has them." if left_out else ""
    return {"columns": [labels[number] for number in kept], "problems": found, "left_out": text}


def _kept(count: int, every: int) -> list[int]:
    """Returns every so many numbers below a count, the last one among them."""
    return sorted({*range(0, count, every), count - 1}) if count else []
