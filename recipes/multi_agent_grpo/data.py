"""Math problems with a number as the answer: GSM8K, a file of your own, or generated ones; and what agents read of them."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from common.data.lesson import check_size, import_lesson
from common.data.parts import is_lesson
from common.data.splits import check_num_held_out
from common.errors import fail
from common.measure.problems import load_problems
from common.run.teaching import longest_prompt

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from agents import Agent
from arguments import TeamArguments


@dataclass(frozen=True)
class Problem:
    """A word problem.

    Attributes:
        question: What the model reads.
        answer: The number that the rewards look for, as text.
        kind: Which kind of generated problem it is; empty for others.
        numbers: Of a generated problem the numbers in the order of the story.
        operations: Of a generated problem one sign for each number but the first: what the story does with it.
        where: File and row, for errors; empty where it is generated.
    """

    question: str
    answer: str
    kind: str = ""
    numbers: tuple[int, ...] = ()
    operations: str = ""
    where: str = ""


def load_data(args: TeamArguments, seed: int) -> tuple[list[Problem], list[Problem], dict[str, list[Problem]]]:
    """Loads problems to train on, shuffled, problems to choose by, and problems that are reported on.

    Args:
        args: Names the data and says how many problems to train on and to hold out.
        seed: Seed of the generated training problems and of the order. The held-out ones are the same for every seed.

    Returns:
        The training problems, the validation problems, and the held-out set by its name; see `common.data.splits`.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    check_num_held_out(args.num_held_out)
    if is_lesson(args):
        check_size(args)
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many problems to generate, for example --num_train 4000")
        return import_lesson("synthetic").synthetic_splits(args.num_train, args.num_held_out, seed)
    train, validation, held_out = (
        [Problem(row["question"], row["answer"], where=row["where"]) for row in rows] for rows in load_problems(args)
    )
    random.Random(seed).shuffle(train)
    return train, validation, {"held_out": held_out}


# --- What an agent reads ------------------------------------------------------------------------------------------------


def conversation(question: str, prompt: str) -> list[dict[str, str]]:
    """Returns the messages that an agent is asked to continue: its role and the question."""
    return [{"role": "system", "content": prompt}, {"role": "user", "content": question}]


def aggregator_question(question: str, answers: dict[str, str | None]) -> str:
    """Returns what the aggregator reads: the question and what each agent answered, None for nothing."""
    return "\n".join([question, "", *(f"{name}: {answer or 'no answer'}" for name, answer in answers.items())])


def measure_prompts(problems: list[Problem], team: list[Agent], tokenizer: PreTrainedTokenizerBase, args: TeamArguments) -> int:
    """Returns the tokens of the longest prompt; ends with a line on a problem that some agent cannot be asked whole."""
    agent = max(team, key=lambda agent: len(tokenizer(agent.prompt)["input_ids"]))
    asked = ((problem.where or repr(problem.question), conversation(problem.question, agent.prompt)) for problem in problems)
    return longest_prompt(asked, tokenizer, args.max_prompt_length, f"the prompt of {agent.name}")


def to_dataset(problems: list[Problem], team: list[Agent]) -> Dataset:
    """Returns a training set in TRL's form: a row for each problem and agent, those of a problem one after the other.

    TRL cuts the rows into generations in this order (`shuffle_dataset: false`), so that each holds whole teams.

    Args:
        problems: The training problems.
        team: The agents that answer each of them.
    """
    rows = [
        {
            "prompt": conversation(problem.question, agent.prompt),
            "answer": problem.answer,
            "problem": number,
            "agent": agent.name,
        }
        for number, problem in enumerate(problems)
        for agent in team
    ]
    return Dataset.from_list(rows)


def aggregator_dataset(problems: list[Problem], heard: Iterable[dict[str, str | None]], aggregator: Agent) -> Dataset:
    """Returns the aggregator's training set.

    Args:
        problems: The problems.
        heard: For each of them what the agents answered.
        aggregator: Its role.
    """
    rows = [
        {"prompt": conversation(aggregator_question(problem.question, answers), aggregator.prompt), "answer": problem.answer}
        for problem, answers in zip(problems, heard, strict=True)
    ]
    return Dataset.from_list(rows)
