"""A mkdocs hook: what stands elsewhere in the repository is on the site too, and each page has links that lead somewhere.

The README of each recipe is a page, in the order of the table in the repository's; so are CONTRIBUTING.md and SECURITY.md.
"""

import re
from os.path import dirname, join, normpath
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
        text = readme.read_text().replace("../../docs/", "../").replace("../../notebooks/", "../notebooks/")
        files.append(File.generated(config, _page(readme), content=text))
        notebook = readme.parents[2] / "notebooks" / f"{readme.parent.name}.ipynb"
        files.append(File.generated(config, f"notebooks/{notebook.name}", abs_src_path=str(notebook)))
    for page, source in ELSEWHERE.items():
        text = (Path(config.config_file_path).parent / source).read_text()
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Called by mkdocs with each page's text; of a link to the rest of the repository the name stays, and the link goes."""
    markdown = re.sub(r"\]\(\.\./recipes/(\w+)/README\.md", r"](recipes/\1.md", markdown)

    def kept(link: re.Match) -> str:
        file = normpath(join(dirname(page.file.src_uri), link[2].partition("#")[0]))
        elsewhere = file.startswith("..") or page.file.generated_by
        here = link[2].startswith("#") or re.match(r"\w+:", link[2]) or files.get_file_from_path(file)
        return link[1] if elsewhere and not here else link[0]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]*)\)", kept, markdown)


def on_page_content(html, page, config, files):
    """Called by mkdocs with each page's HTML; flags of a command and short codes are not broken at the end of a line."""
    html = re.sub(r'(<span class="w">[^<]*</span>)(-[\w-]+)', r'\1<span class="word">\2</span>', html)
    html = re.sub(r'(<img [^>]*src="([^"]*_report\.png)"[^>]*>)', r'<a href="\2">\1</a>', html)  # shown in part: style.css
    return re.sub(r"<code>([^<\s]{1,40}|[^<]{1,28})</code>", r'<code class="word">\1</code>', html)
