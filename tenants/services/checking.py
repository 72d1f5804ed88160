"""Values are checked before they are written."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import Model

from tenants.errors import InvalidValue


def check(row: Model) -> None:
    """Raise InvalidValue for the first field that is out of its range or form."""
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidValue(field, f"{field}: {messages[0]}") from None
