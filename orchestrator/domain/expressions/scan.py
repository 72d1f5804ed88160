"""Finding `${{ … }}` in text."""

import re
from dataclasses import dataclass

from orchestrator.domain.expressions.faults import BadExpression

OPEN = "${{"
CLOSE = "}}"
LONGEST_EXPRESSION = 10_000

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_MARK = re.compile(r"['\"#()\[\]{}]")
# What may follow a backslash.  Python only warns of others, and a warning reaches nobody here.
_ESCAPES = frozenset("\\'\"abfnrtvxuUN\n")


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one expression, without its braces."""

    text: str


def split(text: str) -> tuple[str | Source, ...]:
    """`text` as literal pieces and expressions, in order; `$${{` becomes a literal `${{`.

    Raises BadExpression where an expression has no end.
    """
    parts: list[str | Source] = []
    literal = ""
    start = 0
    while (found := text.find(OPEN, start)) >= 0:
        if found > start and text[found - 1] == "$":
            literal += text[start : found - 1] + OPEN
            start = found + len(OPEN)
            continue
        literal += text[start:found]
        if literal:
            parts.append(literal)
            literal = ""
        end = _closing(text, found + len(OPEN))
        parts.append(Source(text[found + len(OPEN) : end].strip()))
        start = end + len(CLOSE)
    literal += text[start:]
    if literal or not parts:
        parts.append(literal)
    return tuple(parts)


def holds_expression(text: str) -> bool:
    """Whether there is an expression in `text`; one that has no end counts too."""
    return OPEN in text.replace(f"${OPEN}", "")


def _closing(text: str, start: int) -> int:
    """The place of the `}}` that ends the expression from `start`: outside strings and brackets."""
    expected: list[str] = []
    at = start
    while found := _MARK.search(text, at, start + LONGEST_EXPRESSION + 1):
        at = found.start()
        character = found[0]
        if character in "'\"":
            at = _after_string(text, at)
            continue
        if character == "#":
            raise BadExpression("an expression holds no comment")
        if character in _PAIRS:
            expected.append(_PAIRS[character])
        elif not expected and text.startswith(CLOSE, at):
            return at
        elif not expected or expected.pop() != character:
            raise BadExpression(f"the {character} has no opening bracket")
        at += 1
    if len(text) - start > LONGEST_EXPRESSION:
        raise BadExpression(f"an expression has at most {LONGEST_EXPRESSION} characters")
    raise BadExpression(f"{OPEN} is not closed by {CLOSE}")


def _after_string(text: str, start: int) -> int:
    """The place after the string literal that begins at `start`."""
    quote = text[start]
    if text.startswith(quote * 3, start):
        quote *= 3
    raw = text[start - 1] in "rR"
    at = start + len(quote)
    while at < min(len(text), start + LONGEST_EXPRESSION):
        if text[at] == "\\":
            if not raw and text[at + 1 : at + 2] not in _ESCAPES:
                raise BadExpression(f"unknown escape {text[at : at + 2]} in a string")
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        else:
            at += 1
    raise BadExpression("a string in the expression is not closed, or too long")
