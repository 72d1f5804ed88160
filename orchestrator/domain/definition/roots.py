"""Which roots an expression may use, by the place where it stands."""

EVERYWHERE = frozenset({"input", "run", "tenant", "secrets"})
KEPT = EVERYWHERE - {"secrets"}
"""Of what is kept as it is, and compared."""
AFTER_STEPS = EVERYWHERE | {"steps"}
ITEM = AFTER_STEPS | {"item"}
UNTIL = EVERYWHERE | {"output"}
UNDO = AFTER_STEPS | {"output"}
COMPENSATE = AFTER_STEPS | {"error"}
NOWHERE: frozenset[str] = frozenset()
