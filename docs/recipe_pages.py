"""A mkdocs hook: what stands elsewhere in the repository is on the site too, and every page has links and words that hold there.

Each recipe's README is a page, in the order of the table in the repository's README, and so are CONTRIBUTING.md and SECURITY.md.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ELSEWHERE = {"contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}


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
    """Called by mkdocs with the files of the site; adds the pages, with their links as seen from there."""
    for readme in _readmes(config):
        files.append(File.generated(config, _page(readme), content=readme.read_text().replace("../../docs/", "../")))
    for page, source in ELSEWHERE.items():
        text = (Path(config.config_file_path).parent / source).read_text()
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Called by mkdocs with each page's text; of a link to what is not on the site the name stays, and the link goes."""

    def kept(link: re.Match) -> str:
        target = link[2].partition("#")[0]
        on_site = not target or re.match(r"\w+:", target) or files.get_file_from_path(_from(page.file.src_uri, target))
        return link[0] if on_site else link[1]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]*)\)", kept, markdown)


def _from(page: str, target: str) -> str:
    """Returns where a relative link leads to, from the folder of the pages."""
    parts: list[str] = page.split("/")[:-1]
    for part in target.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def on_page_content(html, page, config, files):
    """Called by mkdocs with each page's HTML; a short code (a flag, a file) is not broken at the end of a line."""
    return re.sub(r"<code>([^<]{1,28})</code>", r'<code class="word">\1</code>', html)
