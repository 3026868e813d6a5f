"""BFCL's categories in Java and JavaScript, those of relevance, and the leaderboard's means."""

from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_modules
from function_calls import ROW, kind_of, save, write


@pytest.fixture(scope="module")
def recipe():
    names = ["calls", "forms", "mistakes", "compare", "code_values", "bfcl", "leaderboard", "metrics"]
    with recipe_modules("trl_function_calling", names) as modules:
        yield modules


SET = ("set_timer", {"seconds": 90})
NOW = ("clock.now", {})


@pytest.mark.parametrize(
    ("language", "schema", "text", "value"),
    [
        ("java", {"type": "integer"}, "-42", -42),
        ("java", {"type": "integer"}, "42L", "42L"),
        ("java", {"type": "long"}, "42L", 42),
        ("java", {"type": "long"}, "42", "42"),
        ("java", {"type": "float"}, "3.5f", 3.5),
        ("java", {"type": "double"}, "1e-3", 0.001),
        ("java", {"type": "boolean"}, "true", True),
        ("java", {"type": "boolean"}, "True", "True"),
        ("java", {"type": "String"}, '"a"', '"a"'),
        ("java", {"type": "any"}, "7", "7"),
        ("java", {"type": "Array", "items": {"type": "integer"}}, "new int[]{1, 2}", [1, 2]),
        ("java", {"type": "Array", "items": {"type": "String"}}, 'new String[] {"a, b", "c"}', ["a, b", "c"]),
        ("java", {"type": "Array", "items": {"type": "String"}}, "names", "names"),
        ("java", {"type": "ArrayList", "items": {"type": "long"}}, "new ArrayList<>(Arrays.asList(1L, 2L))", [1, 2]),
        (
            "java",
            {"type": "ArrayList", "items": {"type": "any"}},
            'new ArrayList<>(Arrays.asList("a", 1, true))',
            ["a", 1, True],
        ),
        (
            "java",
            {"type": "ArrayList", "items": {"type": "String"}},
            'new ArrayList<String>() {{ add("a"); add("b"); }}',
            ["a", "b"],
        ),
        ("java", {"type": "ArrayList", "items": {"type": "String"}}, "new ArrayList<>()", []),
        ("java", {"type": "HashMap"}, 'new HashMap<String, Object>() {{ put("a", 1); put("b", "c"); }}', {"a": 1, "b": "c"}),
        ("java", {"type": "HashMap"}, "new HashMap<>()", {}),
        ("java", {"type": "HashMap"}, "System.exit(1)", "System.exit(1)"),
        ("javascript", {"type": "String"}, "'a'", "a"),
        ("javascript", {"type": "String"}, "a", "a"),
        ("javascript", {"type": "float"}, "3.5", 3.5),
        ("javascript", {"type": "Bigint"}, "12n", 12),
        ("javascript", {"type": "Boolean"}, "false", False),
        ("javascript", {"type": "array", "items": {"type": "String"}}, "['a', \"b\"]", ["a", "b"]),
        ("javascript", {"type": "array", "items": {"type": "integer"}}, "new Array(1, 2)", [1, 2]),
        ("javascript", {"type": "array", "items": {"type": "String"}}, "myList", "myList"),
        ("javascript", {"type": "dict"}, "{a: 1, 'b': [true, {c: 'd'}]}", {"a": 1, "b": [True, {"c": "d"}]}),
        ("javascript", {"type": "any"}, "(x) => x", "(x) => x"),
    ],
)
def test_literals_of_other_languages(recipe, language: str, schema: dict[str, Any], text: str, value: Any):
    found = recipe["code_values"].read_literal(text, schema, language)
    assert (type(found), found) == (type(value), value)


JAVA = {
    "id": "simple_java_0",
    "question": [[{"role": "user", "content": "Filter."}]],
    "function": [
        {
            "name": "Table.filter",
            "description": "Filters.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "names": {"type": "Array", "items": {"type": "String"}, "description": "Names."},
                    "limit": {"type": "long", "description": "Limit."},
                },
                "required": ["names", "limit"],
            },
        }
    ],
}
JAVA_ANSWER = {"id": "simple_java_0", "ground_truth": [{"Table.filter": {"names": [["a", "b"]], "limit": [5]}}]}


def test_java_is_asked_for_as_texts_and_checked_as_values(recipe, tmp_path: Path):
    save(tmp_path / "BFCL_v4_simple_java.json", JAVA)
    save(tmp_path / "BFCL_v4_simple_java_answers.json", JAVA_ANSWER)
    (row,) = recipe["bfcl"].load_bfcl(tmp_path)["simple_java"]
    shown = row["tools"][0]["function"]["parameters"]["properties"]
    assert {name: parameter["type"] for name, parameter in shown.items()} == {"names": "string", "limit": "string"}
    assert shown["names"]["description"] == "Names. Written as a text in java's syntax; its type is Array of String."
    for arguments, kind in (
        ({"names": 'new String[]{"a", "b"}', "limit": "5L"}, None),
        ({"names": 'new String[]{"a", "b"}', "limit": "5"}, "wrong type"),
        ({"names": 'new String[]{"a", "c"}', "limit": "5L"}, "wrong value"),
        ({"names": ["a", "b"], "limit": "5L"}, "wrong type"),
        ({"names": 'new String[]{"a", "b"}', "limit": 5}, "wrong type"),
    ):
        assert kind_of(recipe, write([("Table.filter", arguments)]), row) == kind, arguments


def test_any_call_is_relevant(recipe, tmp_path: Path):
    save(tmp_path / "BFCL_v4_live_relevance.json", ROW, ROW, ROW, ROW)
    rows = recipe["bfcl"].load_bfcl(tmp_path)["live_relevance"]
    metrics, verdicts = recipe["metrics"].score(rows, [write([("other", {})]), "No.", "<tool_call>{", write([NOW, SET])])
    assert [verdict["correct"] for verdict in verdicts] == [True, False, False, True]
    assert metrics["relevance"]["value"] == 0.5
    assert list(metrics) == ["relevance"]


def test_the_leaderboard_s_means(recipe):
    """Worked out by hand from the leaderboard's own formulas."""

    def result(right: int, count: int, metric: str = "exact_call") -> dict[str, Any]:
        share = {"value": right / count, "low": right / count, "high": right / count, "count": count}
        return {"metrics": {metric: share}, "count": count}

    results = {
        "simple_python": result(200, 400),  # 1/2
        "simple_java": result(25, 100),  # 1/4
        "simple_javascript": result(0, 50),  # 0: together 1/4
        "multiple": result(150, 200),  # 3/4
        "parallel": result(100, 200),  # 1/2
        "parallel_multiple": result(50, 200),  # 1/4
        "live_simple": result(129, 258),
        "live_multiple": result(351, 1053),
        "live_parallel": result(4, 16),
        "live_parallel_multiple": result(24, 24),
        "irrelevance": result(240, 240, "irrelevance"),
        "live_irrelevance": result(221, 884, "irrelevance"),
        "live_relevance": result(12, 16, "relevance"),
    }
    means, missing = recipe["leaderboard"].leaderboard(results)
    assert missing == []
    assert {name: round(mean["value"], 6) for name, mean in means.items()} == {
        "non_live_ast_acc": round((1 / 4 + 3 / 4 + 1 / 2 + 1 / 4) / 4, 6),
        "live_acc": round((129 + 351 + 4 + 24) / (258 + 1053 + 16 + 24), 6),
        "relevance_detection": 0.75,
        "irrelevance_detection": (1 + 1 / 4) / 2,
    }
    del results["simple_java"], results["live_relevance"]
    means, missing = recipe["leaderboard"].leaderboard(results)
    assert list(means) == ["live_acc", "irrelevance_detection"]
    assert missing == [
        "No non_live_ast_acc: it needs simple_java, too.",
        "No relevance_detection: it needs live_relevance, too.",
    ]
