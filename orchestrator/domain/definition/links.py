"""What ties steps together: names, dependencies written and implied, and the cycles they make."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain import graph
from orchestrator.domain.definition.model import Call, Step
from orchestrator.domain.definition.reader import Reader, shown
from orchestrator.domain.definition.steps import before, templates
from orchestrator.domain.expressions import Template
from orchestrator.domain.statuses import TriggerRule

# Without a parent these could never hold.
_NEEDS_PARENTS = (TriggerRule.ALL_FAILED, TriggerRule.ONE_SUCCESS, TriggerRule.ONE_FAILED)
_LONGEST_CYCLE = 100


class Linker:
    """Resolves names to steps, noting what is unknown, doubled or circular."""

    def __init__(self, reader: Reader, steps: Sequence[Step]) -> None:
        self.reader = reader
        self.steps = steps
        self.ordinals: dict[str, int] = {}
        for step in steps:
            if step.name in self.ordinals:
                message = f"there are two steps called {step.name}"
                reader.note(f"{_place(step)}/name", message, "duplicate_name")
            elif step.name:
                self.ordinals[step.name] = step.ordinal

    def link(self) -> tuple[Step, ...]:
        """The steps with everything filled in; not to be used if problems were noted."""
        depends_on = {step.ordinal: self._dependencies(step) for step in self.steps}
        parents = {
            ordinal: tuple(self.ordinals[name] for name in names)
            for ordinal, names in depends_on.items()
        }
        for cycle in graph.find_cycles(parents):
            self._note_cycle(cycle)
        children = graph.children(parents)
        return tuple(
            self._linked(
                step, depends_on[step.ordinal], parents[step.ordinal], children[step.ordinal]
            )
            for step in self.steps
        )

    def ordinals_of(self, template: Template, place: str, user: str | None = None) -> list[int]:
        """The steps to which `template` refers; unknown ones are noted.

        Without `user` (the step that it belongs to) any step may be referred to.
        """
        known: list[int] = []
        for name, inside in template.places.items():
            if self._known(name, place + inside, user):
                known.append(self.ordinals[name])
        return known

    def _dependencies(self, step: Step) -> tuple[str, ...]:
        """The names of the step's parents, each once: those written, then those referred to."""
        place = _place(step)
        names: dict[str, None] = {}
        for index, name in enumerate(step.depends_on):
            if self._known(name, f"{place}/depends_on/{index}", step.name):
                names[name] = None
        for inside, template in templates(step).items():
            for ordinal in self.ordinals_of(template, place + inside, step.name):
                names[self.steps[ordinal].name] = None
        if not names and step.trigger_rule in _NEEDS_PARENTS:
            message = f"{step.trigger_rule} needs a step to depend on"
            self.reader.note(f"{place}/trigger_rule", message, "out_of_place")
        return tuple(names)

    def _known(self, name: str, place: str, user: str | None) -> bool:
        if name not in self.ordinals:
            guess = self.reader.suggestion(name, self.ordinals)
            message = f"there is no step {shown(name)}{guess}"
            self.reader.note(place, message, "unknown_dependency")
            return False
        if name == user:
            self.reader.note(place, f"the step depends on itself: {name} → {name}", "cycle")
            return False
        return True

    def _note_cycle(self, cycle: tuple[int, ...]) -> None:
        around = cycle[:-1]
        first = around.index(min(around))
        around = around[first:] + around[:first]
        names = [self.steps[ordinal].name for ordinal in (*around, around[0])]
        if len(names) > _LONGEST_CYCLE:
            half = _LONGEST_CYCLE // 2
            names[half:-half] = [f"… {len(names) - 2 * half} more …"]
        path = " → ".join(names)
        step = self.steps[around[0]]
        place = _place(step) + ("/depends_on" if "depends_on" in step.document else "")
        self.reader.note(place, f"the steps wait for each other: {path}", "cycle")

    def _linked(
        self, step: Step, names: tuple[str, ...], parents: tuple[int, ...], children: list[int]
    ) -> Step:
        first = before(step).values()
        needed = {name: None for template in first for name in template.places}
        return replace(
            step,
            depends_on=names,
            parents=parents,
            children=tuple(children),
            needs=tuple(self.ordinals[name] for name in needed if name in names),
            needs_input=any("input" in template.roots for template in first),
            batch_needs=self._batch_needs(step, names),
            batch_needs_input=step.map is not None and "input" in step.args.roots,
            secrets=frozenset(name for template in first for name in template.secrets),
            compensate=self._called(step.compensate),
            undo=self._called(step.undo),
        )

    def _batch_needs(self, step: Step, names: tuple[str, ...]) -> tuple[int, ...]:
        """What a batch of the map needs: its items come with it, `over` is not asked again."""
        if step.map is None:
            return ()
        return tuple(self.ordinals[name] for name in step.args.places if name in names)

    def _called(self, call: Call | None) -> Call | None:
        if call is None:
            return None
        needed = (self.ordinals[name] for name in call.args.places if name in self.ordinals)
        return replace(call, needs=tuple(needed), secrets=frozenset(call.args.secrets))


def _place(step: Step) -> str:
    return f"/steps/{step.ordinal}"
