"""A question that is answered by a call, and conversations as the tests read them of rows."""

from common.data.conversations import check_conversation
from common.data.formats import recognise

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
ASK = {"role": "user", "content": "Weather in Oslo?"}
CALLED = [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL]}]


def messages_of(row: dict, **mapped: str) -> list[dict]:
    conversation = recognise(row, mapped).conversation
    check_conversation(conversation)
    return conversation["messages"]


def said(row: dict, **mapped: str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages_of(row, **mapped)]
