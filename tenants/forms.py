"""The fields of limits, as the admin's form and the staff's page have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django import forms

from tenants import limits
from tenants.limits import Limit
from tenants.models import Quota

UNTIL_HELP = (
    "Empty: for good. Else a duration from now (2h, 3d) or a time (2026-12-31T18:00:00Z): what is set"
    " comes back then."
)


def limit_field(limit: Limit, widget: Callable[..., forms.Widget]) -> forms.Field:
    """The field of a limit, with the column's range; one that may be empty is no limit then."""
    field = limit.field.formfield(
        label=limit.title,
        help_text=limit.help + (f" Empty: {limit.unset}." if limit.optional else ""),
        widget=widget(attrs={"inputmode": "numeric" if limit.integral else "decimal"}),
    )
    assert isinstance(field, forms.Field)
    field.validators = list(limit.field.validators)
    return field


def initial_limits(quota: Quota) -> dict[str, object]:
    """What the fields hold at first."""
    return {limit.name: getattr(quota, limit.name) for limit in limits.ALL}


class LimitsForm(forms.Form):
    """All limits of a tenant, until when, and why."""

    until = forms.CharField(required=False, max_length=100, help_text=UNTIL_HELP)
    reason = forms.CharField(required=False, max_length=1000)

    def __init__(self, data: Mapping[str, str] | None, *, quota: Quota) -> None:
        super().__init__(data, initial=initial_limits(quota))
        for limit in limits.ALL:
            self.fields[limit.name] = limit_field(limit, forms.TextInput)

    def changes(self) -> dict[str, object]:
        """The limits that are to be others than they were."""
        return {
            name: self.cleaned_data[name] for name in self.changed_data if name in limits.BY_NAME
        }
