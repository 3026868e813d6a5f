"""How often our reading of BFCL's rules and the official checker disagree: every answer of BFCL, right and wrong in many ways.

    pip install --no-deps --target somewhere bfcl-eval
    python benchmarks/bfcl_checker.py somewhere

The official checker (bfcl_eval/eval_checker/ast_eval/ast_checker.py) is run as it is, on the data that come with it. Of what it
imports the list of models is left out, which needs the libraries of their vendors.
"""

import importlib
import json
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recipes" / "trl_function_calling"))

from bfcl import LANGUAGES, load_bfcl
from calls import Call, to_request
from metrics import mistake_in

Calls = list[Call]


def official(folder: Path) -> Any:
    """Returns a function that gives the official verdict on calls: None, or the type of the error."""
    sys.path.insert(0, str(folder))
    models = types.ModuleType("bfcl_eval.constants.model_config")
    models.MODEL_CONFIG_MAPPING = {"any": types.SimpleNamespace(underscore_to_dot=False)}
    sys.modules[models.__name__] = models
    languages = importlib.import_module("bfcl_eval.constants.enums").Language  # no dependency of ours: whoever runs this has it
    ast_checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker

    def verdict(category: str, functions: Any, answers: Any, calls: Calls) -> str | None:
        made = [{call.name: json.loads(json.dumps(call.arguments))} for call in calls]
        language = getattr(languages, LANGUAGES.get(category, "python").upper())
        try:
            found = ast_checker(functions, made, answers, language, category, "any")
        except Exception as error:  # the official checker stumbles over some values; the leaderboard then stops
            return f"raises {type(error).__name__}"
        return None if found["valid"] else found["error_type"]

    return verdict


# --- Answers --------------------------------------------------------------------------------------------------------------


def written(value: Any, schema: dict[str, Any], language: str) -> str:
    """Returns an accepted value as a text in a language's syntax."""
    kind, item = schema.get("type"), schema.get("items", {"type": "any"})
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        suffix = {"long": "L", "Bigint": "n"}.get(kind, "f" if kind == "float" and language == "java" else "")
        return f"{float(value) if kind in ('float', 'double') else value}{suffix}"
    if isinstance(value, str):
        return value
    inner = [f'"{one}"' if isinstance(one, str) else written(one, item, language) for one in value]
    if isinstance(value, list):
        if language == "javascript":
            return f"[{', '.join(inner)}]"
        of = {"String": "String", "integer": "int", "char": "char"}.get(item["type"], "Object")
        listed = ", ".join(inner)
        return f"new {of}[]{{{listed}}}" if kind == "Array" else f"new ArrayList<>(Arrays.asList({listed}))"
    shown = {key: f'"{one}"' if isinstance(one, str) else written(one, {}, language) for key, one in value.items()}
    if language == "javascript":
        return "{" + ", ".join(f"{key}: {one}" for key, one in shown.items()) + "}"
    puts = " ".join(f'put("{key}", {one});' for key, one in shown.items())
    return f"new HashMap<String, Object>() {{{{ {puts} }}}}"


def plain(accepted: Any) -> Any:
    """Returns an accepted value as a model writes it: of the keys of an object the first value each."""
    if isinstance(accepted, dict):
        if not all(isinstance(values, list) for values in accepted.values()):
            return accepted
        kept = {key: next((value for value in values if value != ""), None) for key, values in accepted.items()}
        return {key: plain(value) for key, value in kept.items() if value is not None}
    return [plain(item) for item in accepted] if isinstance(accepted, list) else accepted


def right(row: dict[str, Any]) -> Calls:
    """Returns calls that the answers accept."""
    calls = []
    declared = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row.get("declared", row["tools"])}
    for answer in row["answers"]:
        ((name, parameters),) = answer.items()
        schemas = declared[name].get("properties", {})
        arguments = {}
        for key, accepted in parameters.items():
            options = [value for value in accepted if value != ""]
            if options and (accepted[0] != "" or key in declared[name].get("required", [])):
                value = plain(options[0])
                arguments[key] = written(value, schemas.get(key, {}), row["language"]) if "language" in row else value
        calls.append(Call(name, arguments))
    return calls


# --- Changes --------------------------------------------------------------------------------------------------------------


def changed_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields other values in the place of one, each with what was done."""
    yield from (("nothing", ""), ("an empty list", []), ("an empty object", {}), ("null", None), ("a list of it", [value]))
    yield "as a text", json.dumps(value) if not isinstance(value, str) else f'"{value}"'
    if isinstance(value, bool):
        yield from (("the other truth", not value), ("a truth as a number", int(value)))
    elif isinstance(value, int):
        yield from (("another number", value + 1009), ("a number as a float", float(value)), ("another float", value + 0.5))
    elif isinstance(value, float):
        yield from (("another number", value + 1009.5), ("a float as a number", int(value)), ("a little more", value + 1e-9))
    elif isinstance(value, str):
        yield from (("upper case", value.upper()), ("lower case", value.lower()), ("other text", f"{value} not"))
        yield from (("punctuation", f"{value}., -"), ("other quotes", value.replace("'", '"')), ("cut", value[:-1]))
        yield from (("only punctuation", "-"), ("a number for a text", 7), ("without spaces", value.replace(" ", "")))
    elif isinstance(value, list):
        yield from (("turned round", value[::-1]), ("one more", [*value, *value[:1]]), ("one less", value[:-1]))
        for place, item in enumerate(value):
            yield from (
                (f"in a list: {what}", [*value[:place], new, *value[place + 1 :]]) for what, new in changed_values(item)
            )
    elif isinstance(value, dict):
        yield "a key more", value | {"surprise": 1}
        for key, item in value.items():
            yield "a key less", {name: one for name, one in value.items() if name != key}
            yield from ((f"in an object: {what}", value | {key: new}) for what, new in changed_values(item))


def changes(row: dict[str, Any]) -> Iterator[tuple[str, Calls]]:
    """Yields right and wrong calls, each with what was done."""
    calls = right(row)
    yield from (("as accepted", calls), ("none", []), ("one more", [*calls, calls[0]]), ("one less", calls[:-1]))
    if len(calls) > 1:
        yield "turned round", calls[::-1]
    for place, call in enumerate(calls):

        def instead(arguments: dict[str, Any], name: str | None = None, place: int = place, call: Call = call) -> Calls:
            return [*calls[:place], Call(name or call.name, arguments), *calls[place + 1 :]]

        yield "another function", instead(call.arguments, f"{call.name}_now")
        yield "an argument more", instead(call.arguments | {"surprise": 1})
        ((_, parameters),) = row["answers"][place].items()
        for key, accepted in parameters.items():
            yield "an argument less", instead({name: one for name, one in call.arguments.items() if name != key})
            for option in accepted:
                if "language" not in row:
                    yield "another accepted value", instead(call.arguments | {key: plain(option)})
            for what, value in changed_values(call.arguments[key]) if key in call.arguments else ():
                yield what, instead(call.arguments | {key: value})


# --- Differences ----------------------------------------------------------------------------------------------------------

LOOSE = ("only punctuation", "punctuation", "nothing", "cut", "without spaces")


def kind_of(language: bool, what: str, ours: str | None, theirs: str | None) -> str:
    """Returns in what two verdicts differ, in the words of the README."""
    change = what.rpartition(": ")[2]
    if language and ours is None:
        return "quoted texts in lists and maps of Java and JavaScript"
    if language and ours == "wrong type":
        return "a literal of Java or JavaScript with something around it"
    if ours == "wrong value" and theirs is None and change in LOOSE:
        return "texts of nothing but punctuation or spaces"
    if ours == "wrong type" and change in ("a number as a float", "a truth as a number"):
        return "3.0 or true for 3 or 1, inside a list or an object"
    if ours == "wrong type" and change == "nothing":
        return '"" for what is no text and may be left out, in an object'
    if ours is None and change == "a float as a number":
        return "3 for 3.0 in a list"
    if ours is None and "in a list: " in what:
        return "case, spaces and punctuation of texts in a list in an object"
    if ours is None and what == "turned round":
        return "the order of calls of which one fits several answers"
    return "other"


def main() -> None:
    folder = Path(sys.argv[1])
    judge, data = official(folder), folder / "bfcl_eval" / "data"
    total, kinds, examples = Counter(), Counter(), {}
    for category, rows in load_bfcl(data).items():
        if "relevance" in category:
            continue
        lines = (data / f"BFCL_v4_{category}.json").read_text(encoding="utf-8").splitlines()
        functions = [json.loads(line)["function"] for line in lines if line.strip()]
        for row, offered in zip(rows, functions, strict=True):
            request = to_request(row)
            for what, calls in changes(row):
                mistake, theirs = mistake_in(request, calls), judge(category, offered, row["answers"], calls)
                total[category] += 1
                if (mistake is None) != (theirs is None):
                    kind = kind_of("language" in row, what, mistake and mistake.kind, theirs)
                    kinds[kind, "right" if mistake is None else "wrong"] += 1
                    made = [(call.name, call.arguments) for call in calls]
                    examples.setdefault(kind, f"{category}, {what}: {made}: {mistake}; {theirs}")
    print(", ".join(f"{category} {count:,}" for category, count in total.items()))
    print(f"\n{sum(total.values()):,} answers; the verdict differs on {sum(kinds.values()):,}:\n")
    print("| difference | here | official | answers |\n|---|---|---|---|")
    for (kind, here), count in sorted(kinds.items(), key=lambda pair: -pair[1]):
        print(f"| {kind} | {here} | {'wrong' if here == 'right' else 'right'} | {count} |")
    print("\nThe first of each:\n")
    for kind, example in examples.items():
        print(f"- {kind}: {example[:400]}")


if __name__ == "__main__":
    main()
