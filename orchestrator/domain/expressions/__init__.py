"""`${{ … }}` templates: compiled once at publishing, evaluated safely and within bounds."""

from orchestrator.domain.expressions.faults import BadExpression, ExpressionFailed
from orchestrator.domain.expressions.scan import holds_expression
from orchestrator.domain.expressions.template import (
    Template,
    compile_expression,
    compile_template,
    evaluate_condition,
)

__all__ = [
    "BadExpression",
    "ExpressionFailed",
    "Template",
    "compile_expression",
    "compile_template",
    "evaluate_condition",
    "holds_expression",
]
