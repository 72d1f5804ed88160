"""`manage.py workflow_publish FILE --tenant T`: publish a definition from a file."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError

from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import Invalid
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tenants.models import Tenant


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once, and plain values are read as YAML 1.2 has them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > jsonvalue.LONGEST_INTEGER:
            raise yaml.MarkedYAMLError(
                problem=f"an integer has more than {jsonvalue.LONGEST_INTEGER:,} digits",
                problem_mark=node.start_mark,
            )
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)

# YAML 1.2's words for plain values, as people know them from JSON: `on`, `no`, 010, 1:30 and dates
# are text.  PyYAML speaks 1.1, where they are not.
_PLAIN = {
    "bool": (r"true|false", "tf"),
    "null": (r"null|~|", ["n", "~", ""]),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        "-+.0123456789",
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.endswith(("merge", "value"))]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def read_document(file: Path) -> object:
    """What a YAML or JSON file says.  Raises CommandError, which names the place."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from None
    try:
        if file.suffix == ".json":
            return jsonvalue.decode(text)
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except (jsonvalue.BadJson, yaml.YAMLError) as error:
        raise CommandError(f"{file} is not a definition: {error}") from None


class Command(BaseCommand):
    """Publishes a definition from a YAML or JSON file as a workflow's newest version."""

    help = "Publish a workflow from a YAML or JSON file; problems are listed with their paths."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--tenant", required=True, help="the tenant's slug")
        parser.add_argument("--dry-run", action="store_true", help="check only, store nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']}.")
        document = read_document(options["file"])
        try:
            made = publish_workflow(
                tenant=tenant,
                name=None,
                document=document,
                actor=COMMAND,
                dry_run=options["dry_run"],
            )
        except Invalid as error:
            for problem in error.problems:
                self.stderr.write(f"{problem.path or '/'}: {problem.message}")
            sys.exit(1)
        for warning in made.warnings:
            self.stderr.write(f"Warning: {warning.path}: {warning.message}")
        what = "would be published" if options["dry_run"] else "published"
        if not made.created:
            what = "unchanged"
        self.stdout.write(f"{made.name} version {made.version} {what} ({made.checksum[:12]})")
