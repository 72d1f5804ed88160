"""The fields of limits, as the admin's form and the staff's page have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

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


def compare_with_shown(form: forms.BaseForm, present: Mapping[str, object]) -> None:
    """Let `form.changed_data` name what a person changed of what they were shown, which its hidden
    inputs hold: what changed while the form lay open is not theirs to take back.  Where a program sends
    no hidden inputs, it is compared with what is `present`."""
    names = present.keys() & form.fields.keys()
    for name in names:
        form.fields[name].show_hidden_initial = True
    if form.is_bound:
        data: Any = copy(form.data)
        for name in names:
            data.setdefault(form.add_initial_prefix(name), present[name])
        form.data = data


class LimitsForm(forms.Form):
    """All limits of a tenant, until when, and why."""

    until = forms.CharField(required=False, max_length=100, help_text=UNTIL_HELP)
    reason = forms.CharField(required=False, max_length=1000)

    def __init__(self, data: Mapping[str, str] | None, *, quota: Quota) -> None:
        present = initial_limits(quota)
        super().__init__(data, initial=present)
        for limit in limits.ALL:
            field = self.fields[limit.name] = limit_field(limit, forms.TextInput)
            field.help_text = (
                ""  # the page has it elsewhere, and Django would refer every input to it
            )
        compare_with_shown(self, present)

    def changes(self) -> dict[str, object]:
        """The limits that are to be others than they were shown."""
        return {
            name: self.cleaned_data[name] for name in self.changed_data if name in limits.BY_NAME
        }
