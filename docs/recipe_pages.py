"""A mkdocs hook: the page of a recipe is its README, with its links as seen from here."""

import re
from pathlib import Path


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Called by mkdocs with the text of each page; returns the text to show instead."""
    if not page.file.src_uri.startswith("recipes/"):
        return markdown
    readme = Path(config.config_file_path).parent / "recipes" / Path(page.file.src_uri).stem / "README.md"
    text = readme.read_text().replace("../../docs/", "../")
    # What lies elsewhere in the repository is not on the site: its name stays, the link goes.
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?:\.\./\.\./|(?!https?:|\.\.|#))[^)]*\)", r"\1", text)
