"""The tables of the report: what tokens buy, who solves what, who agrees with whom, and how the team compares."""

from common.measure.statistics import mean, paired_difference
from common.report.numbers import format_gain, format_metric
from common.report.table import Table

from agents import Agent
from combine import Outcome, Said, agreement, answers_of
from data import Problem

LABELS = {
    "vote": "vote of all agents",
    "confidence_vote": "the same, weighted by confidence",
    "mean_logits": "mean of the logits, token by token",
    "aggregator": "aggregator, who hears them all",
    "single_agent": "{single}, all tokens in one answer",
    "self_consistency": "all samples of {single}, their vote",
    "self_consistency_1": "one sample of {single}",
}


def _label(name: str, singles: list[Agent]) -> str:
    """Returns how a way of answering is called in a table; `singles` are the agents compared with, untrained and trained."""
    single = " / ".join(dict.fromkeys(agent.name for agent in singles))
    what, _, size = name.rpartition("_")
    if name not in LABELS and what in ("vote", "self_consistency"):
        return f"vote of {size} agents" if what == "vote" else f"{size} samples of {single}, their vote"
    return LABELS.get(name, "{name}, alone").format(name=name, single=single)


def results_table(untrained: dict[str, Outcome], trained: dict[str, Outcome], singles: list[Agent]) -> Table:
    """Returns what each way of answering achieves, and what it takes."""
    rows = []
    for name in trained:
        cells = []
        for outcomes in (untrained, trained):
            found = outcomes.get(name)
            cells += [format_metric(mean(found.values)), f"{found.tokens:.0f}", f"{found.cut:.1%}"] if found else ["", "", ""]
        rows.append([_label(name, singles), *cells])
    return Table(
        "What tokens buy",
        ["", *(f"{when}{what}" for when in ("untrained", "trained") for what in ("", ": tokens a problem", ": cut"))],
        rows,
        "In brackets: 95 % intervals. Tokens: all that are sampled for a problem, by all agents together; cut: the share of "
        "these answers that came to the limit before their end. Of fewer agents or samples than all: the mean over all choices "
        "of so many. A tie of votes counts as the chance to draw the right one.",
    )


def kinds_table(problems: list[Problem], trained: dict[str, Outcome], singles: list[Agent]) -> Table:
    """Returns what each way of answering achieves on each kind of generated problem."""
    kinds = sorted({problem.kind for problem in problems})
    rows = []
    for name, outcome in trained.items():
        cells = []
        for kind in kinds:
            values = [value for value, problem in zip(outcome.values, problems, strict=True) if problem.kind == kind]
            cells.append(f"{100 * sum(values) / len(values):.0f} %")
        rows.append([_label(name, singles), *cells])
    return Table("Who solves what, trained", ["", *kinds], rows, "The share of right answers among problems of each kind.")


def agreement_table(said: Said) -> Table:
    """Returns how often each two agents give the same answer."""
    matrix = agreement([answers_of(completions) for completions in said])
    rows = [[name, *(f"{100 * share:.0f} %" for share in shares.values())] for name, shares in matrix.items()]
    note = "The share of problems on which two agents give the same answer; with itself, on which it gives any."
    return Table("Who agrees with whom, trained", ["", *matrix], rows, note)


def comparisons(untrained: dict[str, Outcome], trained: dict[str, Outcome], singles: list[Agent]) -> dict[str, str]:
    """Returns lines that compare the trained team's vote with what one agent achieves, problem by problem.

    It is the majority vote, because that is what the agents are paid for: the best of several ways of combining would be picked
    for its luck. Of the votes of samples it is compared with that of as many samples as agents, and with the one that takes the
    number of tokens nearest to the team's.
    """
    if not singles:
        return {}
    first, last = singles[:1], singles[1:]
    samples = [name for name in trained if name.startswith("self_consistency")]
    as_many_tokens = min(samples, key=lambda name: abs(trained[name].tokens - trained["vote"].tokens))
    ways = ["single_agent", as_many_tokens, "self_consistency"]
    against = {f"untrained {_label(name, first)}": untrained[name] for name in (first[0].name, *ways)}
    against |= {f"{_label(last[0].name, last)}, in the team": trained[last[0].name]}
    against |= {f"{_label(name, last)}, trained alone": trained[name] for name in ways}
    return {
        f"vote minus {name}": format_gain(paired_difference(trained["vote"].values, other.values))
        for name, other in against.items()
    }
