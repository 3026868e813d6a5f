"""The demo's tools: plain Python functions that touch nothing outside, and the schemas that a model is shown.

A schema is made from a function's signature and docstring (transformers' `get_json_schema`), so a tool of your own is a
function: write it, add it to `TOOLS`, and give the model conversations in which it is called.
"""

import zlib
from collections.abc import Callable
from typing import Any

from transformers.utils import get_json_schema

# What a unit is worth in its quantity's base unit.
UNITS = {
    "km": ("length", 1000.0),
    "miles": ("length", 1609.344),
    "feet": ("length", 0.3048),
    "metres": ("length", 1.0),
    "kg": ("mass", 1.0),
    "pounds": ("mass", 0.45359237),
    "litres": ("volume", 1.0),
    "gallons": ("volume", 3.785411784),
}
SKIES = ["sunny", "cloudy", "rainy", "windy"]


def set_timer(seconds: int) -> dict:
    """Start a timer.

    Args:
        seconds: Duration.
    """
    return {"status": "started"}


def add_reminder(text: str, time: str) -> dict:
    """Remind the user.

    Args:
        text: Task.
        time: HH:MM.
    """
    return {"status": "saved"}


def get_weather(city: str, day: str) -> dict:
    """Get the forecast.

    Args:
        city: City.
        day: Day.
    """
    luck = zlib.crc32(f"{city} {day}".encode())  # the same forecast each time, so that a test can rely on it
    return {"sky": SKIES[luck % len(SKIES)], "degrees": luck // 7 % 30}


def send_payment(to: str, amount: int, currency: str) -> dict:
    """Send money.

    Args:
        to: Person.
        amount: Sum.
        currency: Money. (choices: ["EUR", "USD", "GBP"])
    """
    return {"status": "sent"}


def promise_payment(amount: int, day: str) -> dict:
    """Note a promised payment.

    Args:
        amount: Sum.
        day: Day.
    """
    return {"status": "noted"}


def talk_to_agent(topic: str) -> dict:
    """Connect to a person.

    Args:
        topic: Subject.
    """
    return {"status": "connected"}


def convert_units(value: int, from_unit: str, to_unit: str) -> dict:
    """Convert a value.

    Args:
        value: Number.
        from_unit: From.
        to_unit: To.
    """
    (quantity, size), (other, to_size) = UNITS.get(from_unit, ("", 0.0)), UNITS.get(to_unit, ("", 1.0))
    if not quantity or quantity != other:
        return {"status": "impossible"}
    return {"result": round(value * size / to_size)}


def add_event(title: str, day: str, time: str) -> dict:
    """Add a calendar entry.

    Args:
        title: Event.
        day: Day.
        time: HH:MM.
    """
    return {"status": "saved"}


def search_web(query: str) -> dict:
    """Search the web.

    Args:
        query: Words.
    """
    return {"pages": 1 + zlib.crc32(query.encode()) % 90}


def play_music(artist: str) -> dict:
    """Play songs.

    Args:
        artist: Artist.
    """
    return {"status": "playing"}


def set_temperature(room: str, degrees: int) -> dict:
    """Set the heating.

    Args:
        room: Room.
        degrees: Target.
    """
    return {"status": "set"}


def switch_light(room: str, on: bool) -> dict:
    """Switch a light.

    Args:
        room: Room.
        on: State.
    """
    return {"status": "switched"}


# Never called in training: do calls generalise to tools that are only described?


def book_taxi(city: str, time: str) -> dict:
    """Order a taxi.

    Args:
        city: City.
        time: HH:MM.
    """
    return {"status": "booked"}


def call_person(name: str) -> dict:
    """Phone someone.

    Args:
        name: Person.
    """
    return {"status": "calling"}


def close_window(room: str) -> dict:
    """Close a window.

    Args:
        room: Room.
    """
    return {"status": "closed"}


Function = Callable[..., dict[str, Any]]
TOOLS: dict[str, Function] = {
    function.__name__: function
    for function in (
        set_timer,
        add_reminder,
        get_weather,
        send_payment,
        promise_payment,
        talk_to_agent,
        convert_units,
        add_event,
        search_web,
        play_music,
        set_temperature,
        switch_light,
    )
}
UNSEEN_TOOLS: dict[str, Function] = {function.__name__: function for function in (book_taxi, call_person, close_window)}


def schema(function: Function) -> dict[str, Any]:
    """Returns what a model is shown of a tool: its name, its description and the JSON schema of its arguments."""
    shown = get_json_schema(function)
    shown["function"].pop("return", None)  # what comes back is seen when it comes
    return shown
