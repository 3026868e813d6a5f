"""The tools that a row offers, in whatever form they are written, as JSON schemas in OpenAI's form."""

import re
import reprlib
from typing import Any

from common.data.files import plain
from common.data.literals import read_json_values, read_value
from common.errors import BadRow

# What Python, xLAM and BFCL call the types of a JSON schema.
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
TYPES |= {"tuple": "array", "set": "array"}
BLOCK = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)


# --- Reading ------------------------------------------------------------------------------------------------------------


def _type(written: Any) -> dict[str, Any]:
    """Returns the JSON schema of a type as Python writes it, such as `List[int]`; nothing where any value will do."""
    if not isinstance(written, str):
        return {"type": written} if written else {}
    found = re.fullmatch(r"(\w+)(?:\[(.*)\])?", re.sub(r",\s*optional$", "", written.strip()))
    if found is None or found[1].lower() in ("any", "union", "optional"):
        return {}
    name = TYPES.get(found[1].lower(), found[1])
    return {"type": name} | ({"items": _type(found[2])} if name == "array" and found[2] and "," not in found[2] else {})


def _schema(parameters: Any, name: str) -> Any:
    """Returns the schema of a tool's arguments; xLAM gives a type, a description and a default for each, and no schema."""
    if isinstance(parameters, str):
        try:
            parameters = read_value(parameters)
        except ValueError:
            raise BadRow(f"the schema of tool `{name}` is a text that is not JSON; write a JSON schema") from None
    if not parameters:
        return {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        return parameters
    parameters = {key: value for key, value in parameters.items() if value is not None}  # `"required": null` requires nothing
    if isinstance(parameters.get("type"), str) and parameters["type"] in TYPES:  # `dict`, as BFCL and ToolACE write it
        return _with_json_types(parameters)
    is_flat = "properties" not in parameters and all(
        isinstance(value, dict) and isinstance(value.get("type", ""), str) for value in parameters.values()
    )
    if not is_flat:
        return parameters
    optional = [key for key, value in parameters.items() if "default" in value or "optional" in value.get("type", "")]
    properties = {key: value | _type(value.get("type")) for key, value in parameters.items()}
    for value in properties.values():
        if not _type(value.get("type")):
            value.pop("type", None)
    required = [key for key in parameters if key not in optional]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _with_json_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_json_types(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {key: _with_json_types(value) for key, value in schema.items()}
    if isinstance(schema.get("type"), str) and schema["type"] in TYPES:
        known["type"] = TYPES[schema["type"]]
    elif schema.get("type") == "any":
        del known["type"]
    return known


def _tool(tool: Any) -> Any:
    """Returns a tool in OpenAI's form; what is none is left for `check_tools` to say."""
    if isinstance(tool, str):
        try:
            tool = read_value(tool)
        except ValueError:
            return tool
    if not isinstance(tool, dict):
        return tool
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return tool
    own = {key: value for key, value in function.items() if function is not tool or key != "type"}
    schema = own.pop("input_schema", None) if "parameters" not in own else own["parameters"]
    return {"type": "function", "function": own | {"parameters": _schema(schema, function["name"])}}


def read_tools(tools: Any) -> Any:
    """Reads the tools of a row.

    Args:
        tools: A list of tools or one, perhaps as JSON text; each in OpenAI's form or flat (`name`, `description`,
            `parameters`), with a JSON schema, with xLAM's types, or without parameters.

    Returns:
        The tools in OpenAI's form; see `check_tools` for what is wrong in them.

    Raises:
        BadRow: If a text is not JSON.
    """
    if isinstance(tools, str):
        if not tools.strip():
            return []
        try:
            tools = read_value(tools)
        except ValueError:
            tools = read_json_values(tools)
            if tools is None:
                raise BadRow("`tools` is a text that is not JSON; write a list of tools, or its JSON as a text") from None
    if isinstance(tools, dict):
        tools = [tools]
    return [_tool(plain(tool)) for tool in tools] if isinstance(tools, list) else tools


def _is_tool(value: Any) -> bool:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return False
    return function is not value or isinstance(function.get("parameters"), dict)


def take_tools(text: str) -> tuple[list[Any], str]:
    """Takes the tools out of a system message that describes them in JSON, as Hermes, Glaive and ToolACE do.

    Args:
        text: The system message.

    Returns:
        The tools as they are written, and the text without them: the chat template writes its own description of them.
    """
    for block in BLOCK.finditer(text):
        found = read_json_values(block[1]) or []
        tools = [tool for value in found for tool in (value if isinstance(value, list) else [value])]
        if tools and all(map(_is_tool, tools)):
            return tools, (text[: block.start()].rstrip() + "\n" + text[block.end() :].lstrip()).strip()
    tools, rest, position = [], [], 0
    for start, end, value in read_json_values(text, among_words=True):
        those = value if isinstance(value, list) else [value]
        if those and all(map(_is_tool, those)):
            tools += those
            rest.append(text[position:start])
            position = end
    return tools, re.sub(r"\n\s*\n\s*\n+", "\n\n", "".join([*rest, text[position:]])).strip()


# --- Checking -----------------------------------------------------------------------------------------------------------


def _check_schema(schema: Any, what: str) -> None:
    """Checks the parts of a JSON schema that calls are compared by."""
    if not isinstance(schema, dict):
        raise BadRow(f"{what} is a {type(schema).__name__}; write a JSON schema, an object")
    for key, kind, cure in (("properties", dict, "an object"), ("required", list, "a list"), ("enum", list, "a list")):
        if not isinstance(schema.get(key, kind()), kind):
            raise BadRow(f"{what}: `{key}` is a {type(schema[key]).__name__}; write {cure}")
    types = schema.get("type", [])
    for names, key in ((schema.get("required", []), "required"), ([types] if isinstance(types, str) else types, "type")):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRow(f"{what}: `{key}` is {reprlib.repr(schema[key])}; write names, as a JSON schema does")
    for name, part in schema.get("properties", {}).items():
        _check_schema(part, f"{what}, `{name}`")
    if "items" in schema:
        _check_schema(schema["items"], f"{what}, `items`")


def check_tools(tools: Any) -> list[str]:
    """Checks the tools that a row offers.

    Args:
        tools: JSON schemas in OpenAI's form.

    Returns:
        Their names.

    Raises:
        BadRow: Says which tool is wrong, and the cure.
    """
    if not isinstance(tools, list):
        raise BadRow(f"`tools` is a {type(tools).__name__}; write a list of tools")
    names = []
    for number, tool in enumerate(tools, start=1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRow(f'tool {number} has no name; write {{"type": "function", "function": {{"name": ..., ...}}}}')
        if not isinstance(function.get("parameters"), dict):
            raise BadRow(f"tool `{function['name']}` has no schema; give it `parameters`, a JSON schema of its arguments")
        _check_schema(function["parameters"], f"the schema of tool `{function['name']}`")
        names.append(function["name"])
    return names
