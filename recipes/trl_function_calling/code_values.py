"""Arguments as Java and JavaScript write them, which BFCL asks for as texts in two of its categories.

Only literals are read, nothing is evaluated; what is none stays the text that it is, such as the name of a variable.
"""

import re
from typing import Any

from calls import Call
from mistakes import TYPES, Mistake, name_of

# Both languages' names of types, as JSON schema calls them (bfcl_eval/constants/type_mappings.py in BFCL's repository).
JSON_TYPES = {
    **dict.fromkeys(("byte", "short", "long", "Bigint"), "integer"),
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("char", "String", "any", "Any"), "string"),
    **dict.fromkeys(("Array", "ArrayList", "Queue", "Stack", "Set"), "array"),
    **dict.fromkeys(("HashMap", "Hashtable", "dict"), "object"),
    "Boolean": "boolean",
}
# How a number of a type is written; what stands behind the group is no part of it.
NUMBERS = {
    "byte": r"(-?\d+)",
    "short": r"(-?\d+)",
    "integer": r"(-?\d+)",
    "long": r"(-?\d+)[lL]",
    "Bigint": r"(-?\d+)n",
    "double": r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)",
}
FLOATS = {"java": r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[fF]", "javascript": r"(-?\d+(?:\.\d+)?)"}
LISTS = {
    "java": r"new\s+\w+\[\]\s*\{(.*)\}|new\s+ArrayList<\w*>\(Arrays\.asList\((.*)\)\)|new\s+ArrayList<\w*>\(\)",
    "javascript": r"\[(.*)\]|new\s+Array\((.*)\)",
}
ADDED = re.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{(.*)\}\}", re.DOTALL)
MAP = re.compile(r"new\s+HashMap<[^>]*>\s*\(\)\s*(?:\{\s*\{?(.*?)\}?\s*\})?", re.DOTALL)


def _split(text: str) -> list[str]:
    """Splits a text at the commas that stand in no brackets and no quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for position, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and text[position - 1] != "\\" else quote
        elif sign in "'\"`":
            quote = sign
        elif sign in "([{)]}":
            depth += 1 if sign in "([{" else -1
        elif sign == "," and not depth:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _any_value(text: str, language: str) -> Any:
    """Reads a literal whose type is not declared."""
    if text in ("true", "false"):
        return text == "true"
    for kind in ("integer", "long" if language == "java" else "Bigint", "double"):
        if found := re.fullmatch(NUMBERS[kind], text):
            return float(found[1]) if kind == "double" else int(found[1])
    if language == "javascript" and text[:1] in ("[", "{"):
        return read_literal(text, {"type": "array" if text[0] == "[" else "dict"}, language)
    return _unquoted(text)


def _items(text: str, schema: dict[str, Any], language: str) -> list[Any]:
    item = schema.get("items", {"type": "any"})
    quoted = item.get("type") in ("any", "String", "char")
    return [_any_value(part, language) if quoted else read_literal(part, item, language) for part in _split(text)]


def read_literal(text: str, schema: dict[str, Any], language: str) -> Any:
    """Reads a literal of a declared type.

    Args:
        text: As the language writes it.
        schema: The parameter as BFCL declares it: `type`, and of a list `items`.
        language: `java` or `javascript`.

    Returns:
        The value, or the text where it is no literal of this type.
    """
    kind, text = schema.get("type"), text.strip()
    number = FLOATS[language] if kind == "float" else NUMBERS.get(kind)
    if number:
        found = re.fullmatch(number, text)
        return text if found is None else float(found[1]) if JSON_TYPES.get(kind) == "number" else int(found[1])
    if kind in ("boolean", "Boolean"):
        return text == "true" if text in ("true", "false") else text
    if JSON_TYPES.get(kind, kind) == "array":
        if found := ADDED.fullmatch(text):
            return _items(",".join(re.findall(r"add\((.*?)\)\s*;", found[1])), schema, language)
        found = re.fullmatch(LISTS[language], text, re.DOTALL)
        return text if found is None else _items(next((part for part in found.groups() if part), ""), schema, language)
    if kind == "HashMap":
        found = MAP.fullmatch(text)
        pairs = re.findall(r'put\(\s*"(.*?)"\s*,\s*(.*?)\)\s*;', found[1] or "") if found else []
        return text if found is None else {key: _any_value(value, language) for key, value in pairs}
    if kind == "dict" and text.startswith("{") and text.endswith("}"):
        pairs = [part.partition(":") for part in _split(text[1:-1])]
        return {_unquoted(key.strip()): _any_value(value.strip(), language) for key, _, value in pairs}
    return _unquoted(text) if kind == "String" and language == "javascript" else text


def read_arguments(call: Call, declared: list[dict[str, Any]], language: str) -> Call | Mistake:
    """Reads the arguments of a call as values.

    Args:
        call: A call with texts.
        declared: The tools as BFCL declares them.
        language: `java` or `javascript`.

    Returns:
        The call with values, or the mistake that an argument is no text.
    """
    schemas = {tool["function"]["name"]: tool["function"]["parameters"].get("properties", {}) for tool in declared}
    known = schemas.get(call.name, {})
    for name, value in call.arguments.items():
        if name in known and not isinstance(value, str):
            return Mistake(
                "wrong type", f"{name_of(name)} must be a text in the syntax of {language}, not {TYPES[type(value)]}"
            )
    return Call(
        call.name,
        {
            name: read_literal(value, known[name], language) if name in known else value
            for name, value in call.arguments.items()
        },
    )
