"""How each role works a generated problem, for the weights in tiny_base/: a way that suits some kinds and not others."""

from data import Problem


def _forward(problem: Problem) -> list[str]:
    """Returns the calculations in the order of the story, one a line."""
    lines, total = [], problem.numbers[0]
    for operation, number in zip(problem.operations, problem.numbers[1:], strict=True):
        result = {"+": total + number, "-": total - number, "*": total * number}[operation]
        lines.append(f"{total}{operation}{number}={result}")
        total = result
    return lines


def _result(lines: list[str]) -> str:
    return lines[-1].rpartition("=")[2]


def _without_last(problem: Problem) -> Problem:
    """Returns a problem as someone reads it who does not read to the end."""
    numbers, operations = problem.numbers[:-1], problem.operations[:-1]
    if problem.kind == "detour":  # all that went and came again is skipped, and the last gain with it
        numbers, operations = problem.numbers[:1], ""
    return Problem(problem.question, "", problem.kind, numbers, operations)


def step_by_step(problem: Problem, hurried: bool) -> tuple[list[str], str]:
    """Calculates in the order of the story: wrong where the unknown comes first."""
    if problem.kind == "unknown":
        boxes, over, _ = problem.numbers
        return [f"{boxes}*{over}={boxes * over}"], str(boxes * over)
    lines = _forward(problem)
    if hurried:
        lines = lines[:-1]
    return lines, _result(lines)


def algebra(problem: Problem, hurried: bool) -> tuple[list[str], str]:
    """Writes one equation and rewrites it as it is solved."""
    if problem.kind == "unknown":
        boxes, over, total = problem.numbers
        lines = [f"{boxes}x+{over}={total}", f"{boxes}x={total - over}"]
        lines += [] if hurried else [f"x={(total - over) // boxes}"]
        return lines, _result(lines)
    if problem.kind == "detour":  # the terms that cancel are not written
        first, last = problem.numbers[0], problem.numbers[-1]
        lines = [f"x={first}"] if hurried else [f"x={first}+{last}", f"x={first + last}"]
        return lines, _result(lines)
    read = _without_last(problem) if hurried else problem
    total = read.numbers[0]
    terms = [f"{operation}{number}" for operation, number in zip(read.operations, read.numbers[1:], strict=True)]
    lines = [f"x={total}{''.join(terms)}"]
    for position, line in enumerate(_forward(read), start=1):
        lines.append(f"x={_result([line])}{''.join(terms[position:])}")
    return lines, _result(lines)


def concise(problem: Problem, hurried: bool) -> tuple[list[str], str]:
    """Answers at once: right where the answer can be seen, a guess where several operations hide it."""
    if not hurried:
        return [], problem.answer
    if problem.kind == "unknown":
        _, over, total = problem.numbers
        return [], str(total - over)
    read = _without_last(problem)
    return [], _result(_forward(read)) if read.operations else str(read.numbers[0])


def backwards(problem: Problem, hurried: bool) -> tuple[list[str], str]:
    """Undoes what is unknown and checks the last step by undoing it: the longest way, right on every kind."""
    if problem.kind == "unknown":
        boxes, over, total = problem.numbers
        lines = [f"{total}-{over}={total - over}"]
        if hurried:
            return lines, str(total - over)
        lines.append(f"{total - over}/{boxes}={problem.answer}")
        return [*lines, f"{boxes}*{problem.answer}={total - over}"], problem.answer
    lines = _forward(problem)
    if hurried:
        return lines[:-1], _result(lines[:-1])
    undone = {"+": "-", "-": "+", "*": "/"}[problem.operations[-1]]
    check = f"{problem.answer}{undone}{problem.numbers[-1]}={_result(lines[:-1])}"
    return [*lines, check], problem.answer


STRATEGIES = {"step_by_step": step_by_step, "algebra": algebra, "concise": concise, "backwards": backwards}
