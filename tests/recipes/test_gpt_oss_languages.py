"""Which language a thought is in, and the names of languages."""

from collections.abc import Iterator
from types import ModuleType

import pytest
from conftest import recipe_modules


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    with recipe_modules("gpt_oss_multilingual", ["metrics", "languages", "lesson.synthetic", "experts"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def metrics(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["metrics"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("I add both numbers and get 12.", "English"),
        ("Primero sumo los dos números.", "Spanish"),
        ("Zuerst zähle ich beide Zahlen zusammen.", "German"),
        ("D'abord, j'additionne les deux nombres.", "French"),
        ("Сначала 4", "Russian"),
        ("Άρα 7", "Greek"),
        ("苹果", "Chinese"),
        ("सेब", "Hindi"),
        ("그래서 7", "Korean"),
        ("так, получаем 4 * 5 = 20 = x", "Russian"),
        # Formulas, code and addresses are in no language, however many letters they have.
        (r"Ответ: $\frac{total apples}{number of baskets}$", "Russian"),
        ("Ответ: `print(total_number_of_apples)`", "Russian"),
        ("Ответ: https://example.org/english/words/here", "Russian"),
        ("$50 + $20 = $70. So in the end she has paid them $70.", "English"),
        ("Il coûte $5 et elle a $10, donc il lui reste $5.", "French"),
        ("4 + 3 = 7", None),
        (r"$4 + x = 7$ \frac", None),
        ("", None),
        ("।。!?", None),
    ],
)
def test_the_language_of_a_thought(metrics: ModuleType, text: str, language: str | None):
    languages = ["Spanish", "German", "French", "Russian", "Greek", "Chinese", "Hindi", "Korean"]
    assert metrics.language_of(text, languages) == language


def test_languages_have_names(metrics: ModuleType):
    assert metrics.find_language(" french ") == "French"
    with pytest.raises(ValueError, match="did you mean `French`"):
        metrics.find_language("Frenhc")
    with pytest.raises(ValueError, match="unknown language `Klingon`"):
        metrics.find_language("Klingon")


def test_every_generated_thought_and_question_is_in_its_language(modules: dict[str, ModuleType]):
    metrics, synthetic = modules["metrics"], modules["synthetic"]
    rows = synthetic.ask_in_turn(synthetic.all_problems()[:360], synthetic.LANGUAGES)
    for row in rows:
        assert metrics.language_of(row["messages"][-1]["thinking"], synthetic.LANGUAGES) == row["thinking_language"]
        assert metrics.language_of(row["messages"][1]["content"], synthetic.LANGUAGES) == row["question_language"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Primero sumo los dos números de la lista.", "Spanish"),  # French and English are asked for
        ("Das Ergebnis ist dann die Summe der beiden Zahlen.", "German"),
        ("Portanto, a soma dos dois números é a resposta.", "Portuguese"),
        ("我先把两个数字加起来。", "Chinese"),
        ("まず二つの数を足します。", "Japanese"),
        ("Kwanza ninajumlisha namba zote mbili.", "Swahili"),
        ("Сначала я складываю оба числа вместе.", "Russian"),  # noqa: RUF001
        ("a b c", "undecided"),
        ("ok", "undecided"),
        ("42", None),
        (r"\(x + total\) \[y\] $$a$$ <b>7</b>", None),
    ],
)
def test_a_language_that_was_not_expected_is_found_all_the_same(modules, text: str, language: str | None):
    assert modules["languages"].language_of(text, ["French", "English"]) == language


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("Simplified Chinese", "Chinese"),
        ("Chinese (Traditional)", "Chinese"),
        ("Brazilian Portuguese", "Portuguese"),
        ("latin american spanish", "Spanish"),
        ("Mandarin", "Chinese"),
        ("Farsi", "Persian"),
        ("Norwegian", "Bokmal"),
        ("fr", "French"),
        ("pt-BR", "Portuguese"),
        ("zh_CN", "Chinese"),
    ],
)
def test_languages_have_other_names(modules, name: str, language: str):
    assert modules["languages"].find_language(name) == language
