"""Which turn of a conversation an evaluation asks for."""

from typing import Any


def last_turn(messages: list[dict[str, Any]]) -> int:
    """Returns the position of the last turn of the assistant, whoever speaks after it.

    Args:
        messages: A conversation that has one (see `common.data.conversations.check_conversation`).
    """
    return max(number for number, message in enumerate(messages) if message["role"] == "assistant")


def last_asked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the messages up to the last turn of the assistant that is learned."""
    learned = [
        index for index, message in enumerate(messages) if message["role"] == "assistant" and message.get("weight", 1) != 0
    ]
    return messages[: learned[-1] + 1]
