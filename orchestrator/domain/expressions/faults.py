"""The two ways in which an expression can be wrong."""


class BadExpression(ValueError):
    """A template that cannot be compiled.

    `pointer` (JSON Pointer) says where inside the template's value; `all` holds every fault of the
    value, this one first.
    """

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.all: tuple[BadExpression, ...] = (self,)


class ExpressionFailed(ValueError):
    """An expression that could not be evaluated.

    The message names the path or the expression, and never repeats a value: it may be a secret.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
