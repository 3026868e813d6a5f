"""What people ask of the tools of tools.py, in which words, and what is said with the results."""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CITIES = "Paris London Berlin Madrid Rome Oslo Vienna Prague Lisbon Dublin Athens Warsaw Tokyo Lima Cairo Delhi Seoul Boston"
PEOPLE = "Maria John Anna Peter Lucy Omar Nina Hugo Ines Paul Sara Igor Emma Luis Kate Noah Rosa Finn Mila Adam"
CITIES, PEOPLE = CITIES.split(), PEOPLE.split()
DAYS = ["today", "tomorrow", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
JOBS = [
    "buy milk",
    "call mum",
    "water the plants",
    "feed the cat",
    "pay the rent",
    "walk the dog",
    "wash the car",
    "send the report",
]
TOPICS = ["my bill", "my order", "a refund", "my contract", "the delivery", "my account", "a broken phone", "the price"]
EVENTS = ["lunch", "dinner", "a meeting", "a concert", "the dentist", "a party", "a match", "the exam"]
SUBJECTS = [
    "cheap flights",
    "good films",
    "old maps",
    "bread recipes",
    "used cars",
    "garden tools",
    "rain boots",
    "chess rules",
]
ROOMS = ["kitchen", "bedroom", "bathroom", "hall", "office", "garage"]
CURRENCIES = {"euros": "EUR", "dollars": "USD", "pounds": "GBP"}
UNIT_PAIRS = [("km", "miles"), ("metres", "feet"), ("kg", "pounds"), ("litres", "gallons")]
SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What people ask of a tool.

    Attributes:
        phrasings: Ways to ask; the words in braces come from `draw`.
        draw: Returns the words of a request, and the arguments of the call that it asks for.
        answer: What the assistant says with the arguments and the tool's result in hand.
        missing: Requests that lack an argument, and the question that asks for it.
    """

    phrasings: list[str]
    draw: Callable[[random.Random], tuple[dict[str, Any], Arguments]]
    answer: str
    missing: dict[str, str] = field(default_factory=dict)


def _same(rng: random.Random, **choices: list) -> tuple[dict[str, Any], Arguments]:
    """Draws arguments that stand in the request as they are."""
    words = {name: rng.choice(options) for name, options in choices.items()}
    return words, words


def _on(day: str) -> str:
    return day if day in ("today", "tomorrow") else f"on {day}"


def draw_clock(rng: random.Random) -> tuple[str, str]:
    """Returns a time as people say it and as HH:MM."""
    hour, minute, half = rng.randint(1, 11), rng.choice(["00", "15", "30", "45"]), rng.choice(["am", "pm"])
    return f"{hour}:{minute} {half}", f"{hour + 12 * (half == 'pm'):02d}:{minute}"


def draw_timer(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    """Draws what is said of a timer, and the arguments of the call."""
    unit = rng.choice(list(SECONDS))
    number = rng.randint(2, {"seconds": 90, "minutes": 60, "hours": 5}[unit])
    return {"number": number, "unit": unit}, {"seconds": number * SECONDS[unit]}


def _reminder(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    said, time = draw_clock(rng)
    text = rng.choice(JOBS)
    return {"text": text, "said": said}, {"text": text, "time": time}


def _weather(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    city, day = rng.choice(CITIES), rng.choice(DAYS)
    return {"city": city, "on": _on(day)}, {"city": city, "day": day}


def _payment(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    to, amount, money = rng.choice(PEOPLE), rng.randint(2, 250), rng.choice(list(CURRENCIES))
    return {"to": to, "amount": amount, "money": money}, {"to": to, "amount": amount, "currency": CURRENCIES[money]}


def _promise(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    amount, day = rng.randint(20, 900), rng.choice(DAYS)
    return {"amount": amount, "on": _on(day)}, {"amount": amount, "day": day}


def _units(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    old, new = rng.sample(rng.choice(UNIT_PAIRS), 2)
    value = rng.randint(2, 99)
    return {"value": value, "old": old, "new": new}, {"value": value, "from_unit": old, "to_unit": new}


def _event(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    title, day, (said, time) = rng.choice(EVENTS), rng.choice(DAYS), draw_clock(rng)
    return {"title": title, "on": _on(day), "said": said}, {"title": title, "day": day, "time": time}


def _light(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    room, on = rng.choice(ROOMS), rng.random() < 0.5
    return {"room": room, "state": "on" if on else "off"}, {"room": room, "on": on}


def _taxi(rng: random.Random) -> tuple[dict[str, Any], Arguments]:
    city, (said, time) = rng.choice(CITIES), draw_clock(rng)
    return {"city": city, "said": said}, {"city": city, "time": time}


TASKS = {
    "set_timer": Task(
        ["Set a timer for {number} {unit}.", "Start a {number} {unit} timer.", "Count down {number} {unit}, please."],
        draw_timer,
        "The timer runs for {seconds} seconds.",
        {"Set a timer.": "For how long?", "Start a timer, please.": "For how long?"},
    ),
    "add_reminder": Task(
        [
            "Remind me to {text} at {said}.",
            "At {said} I have to {text}, remind me.",
            "Do not let me forget to {text} at {said}.",
        ],
        _reminder,
        "I will remind you at {time}.",
        {"Remind me at {said}.": "What shall I remind you of?", "Remind me to {text}.": "At what time?"},
    ),
    "get_weather": Task(
        ["What is the weather in {city} {on}?", "Will it rain in {city} {on}?", "Do I need a coat in {city} {on}?"],
        _weather,
        "It will be {sky} in {city}, {degrees} degrees.",
        {"What is the weather {on}?": "In which city?", "Will it rain {on}?": "In which city?"},
    ),
    "send_payment": Task(
        ["Send {amount} {money} to {to}.", "Pay {to} {amount} {money}.", "I owe {to} {amount} {money}, send it."],
        _payment,
        "I sent {amount} {currency} to {to}.",
        {"Send {amount} {money}.": "To whom?", "Send money to {to}.": "How much?"},
    ),
    "promise_payment": Task(
        ["I will pay {amount} {on}.", "You get the {amount} from me {on}.", "I promise to pay {amount} {on}."],
        _promise,
        "Noted, you will pay {amount}.",
        {"I will pay {amount}.": "On which day?", "I will pay {on}.": "How much?"},
    ),
    "talk_to_agent": Task(
        [
            "I want to talk to a person about {topic}.",
            "Get me a human, it is about {topic}.",
            "Can someone help me with {topic}?",
        ],
        lambda rng: _same(rng, topic=TOPICS),
        "Someone will help you with {topic}.",
        {"I want to talk to a person.": "What is it about?", "Get me a human.": "What is it about?"},
    ),
    "convert_units": Task(
        ["How many {new} are {value} {old}?", "Convert {value} {old} to {new}.", "What is {value} {old} in {new}?"],
        _units,
        "It is {result} {to_unit}.",
        {"Convert {value} {old}.": "To which unit?", "What is {value} {old}?": "To which unit?"},
    ),
    "add_event": Task(
        [
            "Put {title} {on} at {said} in my calendar.",
            "I have {title} {on} at {said}, note it.",
            "Plan {title} for me {on} at {said}.",
        ],
        _event,
        "Your calendar has {title} at {time}.",
        {"Put {title} {on} in my calendar.": "At what time?", "Put {title} at {said} in my calendar.": "On which day?"},
    ),
    "search_web": Task(
        ["Search for {query}.", "Look up {query} online.", "Find me something about {query}."],
        lambda rng: _same(rng, query=SUBJECTS),
        "I found {pages} pages.",
        {"Search the web.": "What for?", "Look something up.": "What for?"},
    ),
    "play_music": Task(
        ["Play songs by {artist}.", "I want to hear {artist}.", "Put on some music by {artist}."],
        lambda rng: _same(rng, artist=PEOPLE),
        "Playing {artist}.",
        {"Play songs.": "By whom?", "Put on some music.": "By whom?"},
    ),
    "set_temperature": Task(
        [
            "Heat the {room} to {degrees} degrees.",
            "Make it {degrees} degrees in the {room}.",
            "I want {degrees} degrees in the {room}.",
        ],
        lambda rng: _same(rng, room=ROOMS, degrees=list(range(15, 29))),
        "The {room} will be {degrees} degrees.",
        {"Heat the {room}.": "To how many degrees?", "Make it {degrees} degrees.": "In which room?"},
    ),
    "switch_light": Task(
        ["Turn {state} the light in the {room}.", "Light {state} in the {room}, please.", "Switch the {room} light {state}."],
        _light,
        "Done in the {room}.",
        {"Turn {state} the light.": "In which room?", "Light {state}, please.": "In which room?"},
    ),
    "book_taxi": Task(
        ["Order a taxi in {city} at {said}.", "I need a taxi in {city} at {said}."], _taxi, "A taxi comes at {time}."
    ),
    "call_person": Task(
        ["Phone {name} for me.", "Please phone {name}."], lambda rng: _same(rng, name=PEOPLE), "Calling {name}."
    ),
    "close_window": Task(
        ["Close the window in the {room}.", "Please close the {room} window."], lambda rng: _same(rng, room=ROOMS), "Closed."
    ),
}
SMALL_TALK = {
    "Tell me a joke about {person}.": "{person} told it better.",
    "How are you, says {person}.": "Fine, thank you, {person}.",
    "Who is {person}?": "I do not know {person}.",
    "Write a poem about {city}.": "{city}, you shine at night.",
    "Have you been to {city}?": "No, I have never seen {city}.",
    "Is {city} nice?": "Many people like {city}.",
}


def is_held_out(request: str) -> bool:
    """Returns whether a request is kept out of all training: one in five is, whatever the seed."""
    return zlib.crc32(request.encode()) % 5 == 0


def draw_request(rng: random.Random, name: str, held_out: bool) -> tuple[str, Arguments]:
    """Draws a request to a tool from the held-out or the other ones; returns it with the arguments it asks for."""
    while True:
        words, arguments = TASKS[name].draw(rng)
        text = rng.choice(TASKS[name].phrasings).format(**words)
        if is_held_out(text) == held_out:
            return text, arguments
