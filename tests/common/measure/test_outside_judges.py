r"""Agreement with judges that others use, and the kinds in which we differ on purpose.

Where we differ from lm-evaluation-harness's flexible filter (its gsm8k.yaml): it compares texts, so 18.00 is not 18 for it; it
takes the last digits of anything, so a date or a range has an answer, 18\pi is 18 and 18 cm^2 is 2; `18 thousand` is 18.
Where we differ from Math-Verify: it takes the last of several numbers (`18,18`, `x=20, y=18`), drops words (`18 thousand`, `18
apples and 2 pears`) and reads a percentage as a share.
"""

import json
import random
import re

from common.measure.math_answers import boxed_answer, gives, gold_number, is_same

import pytest
from conftest import ROOT
from math_verify import LatexExtractionConfig, parse, verify

GSM8K = ROOT.parent / "shared" / "data" / "gsm8k" / "train.jsonl"


def flexible(text: str, answer: str) -> bool:
    """The filter `flexible-extract` of lm-evaluation-harness's gsm8k, and its exact match."""
    found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)
    if not found:
        return False
    last = next(part for part in found[-1] if part)
    plain = [re.sub(r"\.$", "", re.sub(r"[,$]", "", said)).strip() for said in (last, answer)]
    return plain[0] == plain[1]


@pytest.mark.skipif(not GSM8K.exists(), reason=f"needs GSM8K in {GSM8K}")
def test_the_last_number_is_that_of_lm_evaluation_harness():
    rng, differ = random.Random(0), []
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()[:600]]
    for row in rows:
        answer = gold_number(row["answer"])
        steps = re.sub(r"<<[^>]*>>", "", row["answer"].rpartition("####")[0]).strip()
        wrong = str(rng.randint(1, 99))
        for said in (f"{steps} So the answer is {answer}.", steps, f"The answer is ${wrong}."):
            if gives(said, answer) is not flexible(said, answer):
                differ.append((said, answer))
    assert len(rows) * 3 > 1000
    # Each ends with 1.50 for 1.5, with a number that a word scales, or with a time, a fraction or a range.
    kind = re.compile(r"\.\d*0\D*$|\d+ (?:thousand|million|hundred|dozen|half|quarter)|\d[:/%-]\d|\.\d+\D*$|\d [a-z]+[^\d]*$")
    assert len(differ) < 0.03 * 3 * len(rows)
    assert [pair for pair in differ if not kind.search(pair[0])] == []


def test_boxes_are_judged_as_math_verify_does():
    rng, differ, count = random.Random(0), [], 0
    forms = ("{}", "{}.0", r"\frac{{{}}}{{1}}", r"{}\text{{ eggs}}", r"\${}", "x={}", r"{}\,\text{{km}}", "{:,}")
    for _ in range(130):
        number = rng.randint(1, 5000)
        for form in forms:
            box = f"\\boxed{{{form.format(number)}}}"
            answer = str(number + rng.choice([0, 0, 1]))
            count += 1
            found = parse(box, extraction_config=[LatexExtractionConfig()], raise_on_error=False)
            theirs = bool(found) and verify(parse(f"\\boxed{{{answer}}}"), found, raise_on_error=False)
            if is_same(boxed_answer(box), answer) is not theirs:
                differ.append((box, answer, theirs))
    assert count > 1000
    assert differ == []
