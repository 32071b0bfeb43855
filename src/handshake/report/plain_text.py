"""Text of models and programs as it may be shown: what would be invisible or turn the text around is made visible."""

from __future__ import annotations

import unicodedata
from typing import Any

_KEPT = "\n\t"


def visible(text: str) -> str:
    """A text in which control and formatting characters (escape codes, right-to-left overrides) can be seen."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(sign) for sign in text)


def _shown(sign: str) -> str:
    if sign in _KEPT or sign.isprintable():
        return sign
    if sign == "\r":
        return ""
    kind = unicodedata.category(sign)
    if kind in ("Zs", "Zl", "Zp"):
        return " "
    return (
        chr(0x2400 + ord(sign))
        if ord(sign) < 0x20
        else f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(sign):04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"
    )


def duration(milliseconds: float) -> str:
    """`340 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def number(value: float) -> str:
    """Thousands set apart by a narrow space."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def money(value: float | None) -> str:
    """Four decimals where it is little, two else; a dash where nothing had a price."""
    return "\N{EN DASH}" if value is None else f"{value:.4f}" if abs(value) < 1 else f"{value:,.2f}"


def percent(part: float, whole: float) -> str:
    """A share, or a dash where there is nothing to share."""
    return f"{part / whole:.0%}" if whole else "\N{EN DASH}"


def words(value: Any) -> str:
    """A constant's name as words."""
    return str(value).replace("_", " ").lower()
