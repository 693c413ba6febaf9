"""What a network's options may be: they come from the headers of files that anybody may have written."""

from __future__ import annotations


def check_number(name: str, value: float, least: float, most: float, why: str = "") -> None:
    """Nothing but a number from `least` to `most` is one: no text, no truth value, neither NaN nor infinity.

    Raises:
        ValueError: it is none; `why` ends the message.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected a number from {least:g} to {most:g}{why}")


def check_whole(name: str, value: int, least: int, most: int, why: str = "") -> None:
    """As `check_number`, of whole numbers.

    Raises:
        ValueError: it is none; `why` ends the message.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected a whole number from {least} to {most}{why}")


def check_flag(name: str, value: bool) -> None:
    """Whatever else is written counts as true where it is read, the text "false", too.

    Raises:
        ValueError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, expected true or false")
