"""A mkdocs hook: each recipe's README is a page of the site, in the order of the table in the repository's README."""

import re
from pathlib import Path

from mkdocs.structure.files import File


def _readmes(config) -> list[Path]:
    """Returns the README of each recipe, those without a row in the table last."""
    root = Path(config.config_file_path).parent
    order = re.findall(r"\]\(recipes/(\w+)/README\.md\)", (root / "README.md").read_text())
    return sorted(root.glob("recipes/*/README.md"), key=lambda path: [*order, path.parent.name].index(path.parent.name))


def _page(readme: Path) -> str:
    return f"recipes/{readme.parent.name}.md"


def on_config(config):
    """Called by mkdocs with its configuration; fills in the section of the recipes, each by its title before the colon."""
    for section in config.nav:
        if "Recipes" in section:
            titles = {_page(readme): readme.read_text().partition("\n")[0] for readme in _readmes(config)}
            section["Recipes"] = [{title.removeprefix("# ").partition(":")[0]: page} for page, title in titles.items()]
    return config


def on_files(files, config):
    """Called by mkdocs with the files of the site; adds the pages of the recipes, with their links as seen from there."""
    for readme in _readmes(config):
        text = readme.read_text().replace("../../docs/", "../")
        # What lies elsewhere in the repository is not on the site: its name stays, the link goes.
        text = re.sub(r"(?<!!)\[([^\]]+)\]\((?:\.\./\.\./|(?!https?:|\.\.|#))[^)]*\)", r"\1", text)
        files.append(File.generated(config, _page(readme), content=text))
    return files
