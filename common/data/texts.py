"""Texts of files in UTF-8, or one line that says why a file is none."""

import gzip
import zlib
from pathlib import Path

from common.errors import brief, fail

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that such files begin with


class Unreadable(ValueError):
    """A file that is no text in UTF-8; the text says which, why and what to do."""


def decoded_text(path: Path) -> str:
    """Reads a text in UTF-8, packed or not, without the mark that some editors put before it.

    Args:
        path: The file.

    Raises:
        Unreadable: If it cannot be read, is empty, or is no such text.
    """
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(f"{path} cannot be unpacked ({brief(error)}): it is cut short or no gzip; copy it again") from None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}); correct the path, or its permissions") from None
    if not content.strip():
        raise Unreadable(f"{path} is empty; it needs at least one row")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, is_wide = content.count(b"\n", 0, error.start) + 1, content.startswith(UTF_16)
        raise Unreadable(
            f"{path}, line {line}: not UTF-8{', but UTF-16' if is_wide else ''} (byte {content[error.start]:#04x}); save it as "
            f"UTF-8, for example `iconv -f {'UTF-16' if is_wide else 'WINDOWS-1252'} -t UTF-8 OLD > NEW`"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Unreadable(
            f"{path}, line {line}: a NUL byte, so it is damaged or no text in UTF-8; copy it again, or save it as UTF-8"
        )
    return text


def read_text(path: Path) -> str:
    """Reads a text as `decoded_text` does, or ends.

    Args:
        path: The file.

    Raises:
        SystemExit: With code 2 and one line.
    """
    try:
        return decoded_text(path)
    except Unreadable as error:
        fail(str(error))
