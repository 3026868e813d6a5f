"""Chat templates as texts, fit to train with and to infer with elsewhere: one text, without a clock, without TRL's marks."""

import json
import re
from datetime import date

from common.errors import BadRow

# TRL's training templates mark what the assistant writes, by a tag that transformers alone knows.
MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")
COMMENT_OR_MARK = re.compile(rf"\{{#.*?#\}}|{MARK.pattern}", re.DOTALL)
CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
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
        template: The template; those of Llama, gpt-oss and SmolLM 3, for example, write the date.
        day: What it is to name.
    """
    template = CLOCK.sub(lambda found: json.dumps(day.strftime(found[2])), template)
    template = template.replace("strftime_now is defined", "true")  # also where there is no clock at all
    fixed = f'{{%- set date_string = "{day:%d %b %Y}" %}}'
    return fixed + template if "date_string is defined" in template and not template.startswith(fixed[:20]) else template
