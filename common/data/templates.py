"""Chat templates as texts, fit to train with and to infer with elsewhere: one text, without a clock, without TRL's marks."""

import json
import re
from datetime import date

from common.errors import BadRow

# TRL's training templates mark what the assistant writes, by a tag that transformers alone knows.
MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")
COMMENT_OR_MARK = re.compile(rf"\{{#.*?#\}}|{MARK.pattern}", re.DOTALL)
CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
IS_CLOCK = "strftime_now is defined"
# A date in the place of the clock, which stays beside it: no Jinja evaluates what stands behind an `or` that is true already.
FIXED = re.compile(r"""\((?:true|"([^"]*)") or (strftime_now(?: is defined|\(\s*(["']).*?\3\s*\)))\)""")
FIXED_VARIABLE = re.compile(r'\{%- set date_string = "([^"]*)" %\}\{# fixed #\}')
DATE = re.compile(r"""["'](\d{4}-\d\d-\d\d|\d{1,2}[ -]\w{3,9}[ -]\d{4})["']""")
# Phi's template ends the conversation, not the turn, with the token that ends a document.
END_OF_DOCUMENT = re.compile(r"\{%-?\s*else\s*-?%\}\s*\{\{-?\s*eos_token\s*-?\}\}\s*(\{%-?\s*endif\s*-?%\}\s*)$")


def as_text(template: str | dict[str, str] | None) -> str:
    """Returns a chat template as one text.

    Args:
        template: A text, or templates by name. `default` is for conversations without tools, `tool_use`, if there is one, for
            those with tools, as transformers chooses among them; other names are asked for by nobody.

    Raises:
        BadRow: If there is none, or none is the `default`.
    """
    if template is None:
        raise BadRow("the tokenizer has no chat template; use the model's instruct version")
    if isinstance(template, str):
        return template
    if not isinstance(template, dict) or not all(isinstance(text, str) for text in template.values()):
        raise BadRow(f"its chat template is a {type(template).__name__}; make it one text")
    if "default" not in template:
        raise BadRow(f"of its chat templates ({', '.join(template)}) none is the `default`; name one of them so")
    if "tool_use" not in template:
        return template["default"]
    return f"{{% if tools %}}{template['tool_use']}{{% else %}}{template['default']}{{% endif %}}"


def without_marks(template: str) -> str:
    """Returns a chat template without `{% generation %}`, which Jinja elsewhere (vLLM, llama.cpp) stops at.

    A comment takes the place of each, so that the white space around it stays what it was. TRL's own comments name the marks.

    Args:
        template: The template.
    """
    return COMMENT_OR_MARK.sub(
        lambda found: MARK.sub("", found[0]) if found[0].startswith("{#") else f"{{#{found[1]} {found[2]}#}}", template
    )


def with_fixed_date(template: str, day: date) -> str:
    """Returns a chat template that names a day where it would look at the clock: tomorrow the same rows would be other tokens.

    Args:
        template: The template; those of Llama, gpt-oss and SmolLM 3, for example, write the date. One that has a fixed date
            already, such as that of a run, keeps it.
        day: What it is to name.
    """
    if with_clock(template) != template:
        return template
    template = CLOCK.sub(lambda found: f"({json.dumps(day.strftime(found[2]))} or {found[0]})", template)
    template = template.replace(IS_CLOCK, f"(true or {IS_CLOCK})")  # also where there is no clock at all
    fixed = f'{{%- set date_string = "{day:%d %b %Y}" %}}'
    # Runs of versions that kept no clock begin with the same, without a mark.
    begins = "date_string is defined" in template and not template.startswith(fixed[:20])
    return f"{fixed}{{# fixed #}}{template}" if begins else template


def with_clock(template: str) -> str:
    """Returns a chat template that looks at the clock again where `with_fixed_date` has named a day.

    Args:
        template: The template of a run.
    """
    return FIXED_VARIABLE.sub("", FIXED.sub(r"\2", template))


def reads_clock(template: str) -> bool:
    """Returns whether a chat template writes another text tomorrow."""
    return "strftime_now" in FIXED.sub("", template)


def named_date(template: str) -> str | None:
    """Returns the date that a chat template names instead of looking at the clock, as it is written; None if there is none."""
    found = FIXED_VARIABLE.search(template) or next((found for found in FIXED.finditer(template) if found[1]), None)
    found = found or DATE.search(template)
    return found and found[1]
