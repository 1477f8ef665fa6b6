"""Makes text of others harmless in a terminal.

Services write names of errors, summaries, payloads. A terminal obeys control characters, and shows text in
another order after Unicode's marks of direction. So both are shown as escapes, as in a Python literal.
"""

from unicodedata import category


def printable(text: str) -> str:
    """The text with visible escapes for all that a terminal would obey. Tabs and newlines stay."""
    if text.isprintable():
        return text
    return "".join(each if each in "\n\t" or _is_visible(each) else _escaped(each) for each in text)


def printable_line(text: str) -> str:
    """The text as one line, so that it cannot look like another line of ours."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _is_visible(character: str) -> bool:
    # Spaces of all widths are not printable by Python's definition.
    return character.isprintable() or category(character) == "Zs"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
