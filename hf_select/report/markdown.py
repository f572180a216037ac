"""Words from strangers inside Markdown: labels and names are shown as text, never as markup. And where templates lie."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_select.errors import OutputError

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["CELL", "escape_markdown", "shown", "template", "without_paths"]

CELL = 80  # characters of a value that a table cell shows

_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with them
_SPECIAL = {character: "\\" + character for character in "\\`*_[]{}~#"}
_SPECIAL |= {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "$": "&#36;"}
_ESCAPES = str.maketrans(_SPECIAL)
_LIVE = re.compile(r"(:)(?=//)|(www)(?=\.)|(@)|(:)(?=[\w+-]+:)", re.IGNORECASE)  # links, mentions, emoji codes
_DOMAIN = re.compile(r"(?<=\w)\.(?=[^\W\d_])")  # some renderers link example.com, and main.py too
_BLOCK = re.compile(r"^(\d*)([-+=:.)])(?![\d.])")  # lists, rules and headings, but no numbers such as -0.5

_ROOTS = "home|Users|root|tmp|var|etc|mnt|media|opt|srv|usr|private|proc|Volumes|work|workspace|data|scratch|content"
_ABSOLUTE = rf"(?:file://)?(?:~[\w.-]*[/\\]|/(?:{_ROOTS})(?=[/\s'\"]|$)|[A-Za-z]:[/\\]|\\\\\w|/(?:[^/\s'\"]+/){{2,}})"
_QUOTED = re.compile(rf"(?<=(['\"])){_ABSOLUTE}.*?(?=\1)")
_BARE = re.compile(rf"(?<![\w.:/\\-]){_ABSOLUTE}[^\s'\"|,;)\]]*")


def shown(text: object, limit: int | None = None) -> str:
    """Return text in one line, with everything invisible made visible: control characters, bidi overrides, surrogates.

    Args:
        text: anything; None is "(none)", an empty text "(empty)".
        limit: cut to this many characters, the last of which is then "…".

    Example:
        >>> shown("two\\nlines \\u202egnp.exe"), shown("abcdef", limit=4)
        ('two lines \\\\u202egnp.exe', 'abc…')
    """
    line = " ".join(("(none)" if text is None else str(text)).split()) or "(empty)"
    line = "".join(c if _visible(c) else c.encode("unicode_escape").decode("ascii") for c in line)
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape_markdown(text: object, limit: int | None = None) -> str:
    """Escape text so that Markdown shows it as it is: in a table cell, a list item or a paragraph.

    No heading, list, emphasis, code, link, image, HTML, mention, emoji code or formula comes of it, and no new line or
    cell. A link is broken by an invisible zero-width space (after "://", "www" and "@").

    Args:
        text: anything; see `shown`.
        limit: cut to this many characters before escaping.

    Example:
        >>> escape_markdown("yes|no <b>*loud*</b>")
        'yes&#124;no &lt;b&gt;\\\\*loud\\\\*&lt;/b&gt;'
    """
    live = _LIVE.sub(lambda found: found[0] + "\u200b", shown(text, limit))
    return _BLOCK.sub(r"\1\\\2", _DOMAIN.sub(r"\\.", live.translate(_ESCAPES)))


def without_paths(text: object) -> str:
    """Replace local paths in a sentence: a report travels, and folders carry the names of people and machines.

    >>> without_paths("refused: '/home/ann lee/a.wav' is outside"), without_paths("/m/09x0r, https://hf.co/a/b/c")
    ("refused: '(local path)' is outside", '/m/09x0r, https://hf.co/a/b/c')
    """
    return _BARE.sub("(local path)", _QUOTED.sub("(local path)", str(text)))


def template(name: str) -> Template:
    """Load a Jinja template of `hub_cards/`, from an installed wheel or from the checkout.

    Every value that it prints is escaped by `escape_markdown`, unless it is a `markupsafe.Markup`; the filter `cell`
    also cuts to the width of a table cell.

    Raises:
        OutputError: the templates are not there.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    package = Path(__file__).resolve().parents[1]
    folder = next((f for f in (package / "hub_cards", package.parent / "hub_cards") if (f / name).is_file()), None)
    if folder is None:
        raise OutputError(f"The template hub_cards/{name} is not there: this installation is incomplete, reinstall it.")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,  # what a macro returns is then marked as finished, and not escaped twice
        finalize=_finish,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda value: _finish(value, CELL)
    return environment.get_template(name)


def _finish(value: Any, limit: int | None = None) -> Any:
    from markupsafe import Markup

    return value if isinstance(value, Markup) else Markup(escape_markdown(value, limit))


def _visible(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
