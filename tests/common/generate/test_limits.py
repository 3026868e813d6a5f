"""Answers that a limit cuts are named before a model answers."""

from common.generate.limits import warn_of_cut_references

import pytest


def tokenizer(texts: list[str], **options: bool) -> dict[str, list[list[int]]]:
    return {"input_ids": [[0] * len(text.split()) for text in texts]}


def test_references_that_are_cut_are_counted(capsys: pytest.CaptureFixture[str]):
    warn_of_cut_references({"held_out": ["a b", "a b c", "a b c d"], "fits": ["a"], "empty": []}, tokenizer, 3)
    line = "Warning: max_new_tokens 3 cuts 2 of 3 references of held_out, so none of these can be answered right; the longest"
    assert capsys.readouterr().out == f"{line} needs 5.\n"
