"""Talks to a trained model that thinks in a language of your choice, and shows its thought and its answer apart.

    recipes chat outputs/gpt_oss_multilingual/tiny --reasoning_language Greek

Every line of input is a question of its own; `--history` keeps what was said before, without the thoughts, which gpt-oss's chat
template leaves out. `/think French` changes the language, `/new` starts over.
"""

from typing import Any

from common.errors import fail
from common.generate.chat import chat_parser, complete, load_for_chat, talk

from languages import find_language
from metrics import INSTRUCTION, parse_turn


def main() -> None:
    parser = chat_parser(__doc__, history=True)
    parser.add_argument("--reasoning_language", default="English", help="the language to think in, in English: French")
    args = parser.parse_args()
    try:
        language = find_language(args.reasoning_language)
    except ValueError as error:
        fail(f"--reasoning_language: {error}")
    model, tokenizer, _ = load_for_chat(args.run, args)

    def think(name: str) -> None:
        nonlocal language
        try:
            language = find_language(name)
        except ValueError as error:
            print(error)

    def reply(messages: list[dict[str, Any]]) -> None:
        system = {"role": "system", "content": INSTRUCTION.format(language)}
        turn = parse_turn(tokenizer.decode(complete(model, tokenizer, [system, *messages])))
        print(f"thinks:  {turn.thinking or '(nothing)'}\nanswers: {turn.final or '(nothing)'}", flush=True)
        messages.append({"role": "assistant", "content": turn.final})

    talk(reply, history=args.history, commands={"/think": think}, hint="/think LANGUAGE changes the language,")


if __name__ == "__main__":
    main()
