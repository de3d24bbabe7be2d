"""The language of `data.where`: which samples are trained on, by conditions on their metadata.

Comparisons of fields, numbers and texts, joined by `and`, `or`, `not` and parentheses:
`similarity > 0.28 and LANGUAGE == "en" and not NSFW in ("LIKELY", "NSFW")`. An expression is parsed
and walked; it is never executed.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from uniclip.errors import UserError

MAX_LENGTH = 1_000
"""Characters of an expression."""
GRAMMAR = (
    'write comparisons such as similarity > 0.28 or LANGUAGE == "en", joined by and, or, not; '
    "+, -, *, /, min(), max() and abs() calculate"
)

Evaluate = Callable[[Mapping[str, Any]], Any]


class MissingFieldError(Exception):
    """A sample has no field of this name, or a value that cannot be compared.

    `names`: the field, or the fields of the comparison.
    """

    def __init__(self, *names: str) -> None:
        super().__init__(" or ".join(names))
        self.names = names


class SampleFilter:
    """A parsed expression.

    Args:
        expression: What the user wrote.

    Raises:
        UserError: It is not an expression of the grammar.
    """

    COMPARISONS: ClassVar[dict[type, Callable[[Any, Any], bool]]] = {
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.In: lambda item, collection: item in collection,
        ast.NotIn: lambda item, collection: item not in collection,
    }
    ARITHMETIC: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
    }
    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {"min": min, "max": max, "abs": abs}

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.fields: set[str] = set()
        """Names of the fields that the expression reads."""
        try:
            if len(expression) > MAX_LENGTH:
                raise ValueError
            tree = ast.parse(expression.strip(), mode="eval")
            self._evaluate = self._compile_condition(tree.body)
        except UserError:
            raise
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UserError(f"data.where={expression!r} cannot be read: {GRAMMAR}") from None

    def accepts(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a sample fulfils the condition.

        Raises:
            MissingFieldError: The sample lacks a field, or its value is null or of another type.
        """
        try:
            return bool(self._evaluate(fields))
        except (TypeError, ZeroDivisionError, OverflowError):
            raise MissingFieldError(*sorted(self.fields)) from None

    # ---- conditions: everything that is true or false ---------------------------------------

    def _compile_condition(self, node: ast.expr) -> Evaluate:
        if isinstance(node, ast.BoolOp):
            parts = [self._compile_condition(value) for value in node.values]
            combine = all if isinstance(node.op, ast.And) else any
            return lambda fields: combine([part(fields) for part in parts])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            condition = self._compile_condition(node.operand)
            return lambda fields: not condition(fields)
        if isinstance(node, ast.Compare):
            return self._compile_comparison(node)
        if isinstance(node, ast.Name):
            return self._compile_value(node)
        raise ValueError

    def _compile_comparison(self, node: ast.Compare) -> Evaluate:
        values = [self._compile_value(value) for value in (node.left, *node.comparators)]
        tests = [self.COMPARISONS.get(type(op)) for op in node.ops]
        if None in tests:
            raise ValueError
        for op, right in zip(node.ops, node.comparators):
            if isinstance(op, (ast.In, ast.NotIn)) and isinstance(right, ast.Constant):
                raise UserError(
                    f"data.where={self.expression!r}: what follows `in` must be a list of values "
                    f"or a field: write in ({right.value!r},) for one of these values, or =="
                )
        steps = list(zip([test for test in tests if test is not None], values, values[1:]))
        names = sorted(
            {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}.intersection(self.fields)
        )

        def compare(fields: Mapping[str, Any]) -> bool:
            try:
                return all([test(left(fields), right(fields)) for test, left, right in steps])
            except (TypeError, ZeroDivisionError, OverflowError):
                raise MissingFieldError(*names) from None

        return compare

    # ---- values: fields, numbers, texts, tuples ---------------------------------------------

    def _compile_value(self, node: ast.expr) -> Evaluate:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
            constant = node.value
            return lambda fields: constant
        if isinstance(node, ast.Name):
            return self._compile_field(node.id)
        if isinstance(node, (ast.Tuple, ast.List)):
            items = [self._compile_value(item) for item in node.elts]
            return lambda fields: [item(fields) for item in items]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = self._compile_value(node.operand)
            return lambda fields: -_require_number(operand(fields))
        if isinstance(node, ast.BinOp) and type(node.op) in self.ARITHMETIC:
            calculate = self.ARITHMETIC[type(node.op)]
            left, right = self._compile_value(node.left), self._compile_value(node.right)
            return lambda fields: calculate(
                _require_number(left(fields)), _require_number(right(fields))
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._compile_call(node.func.id, node.args)
        raise ValueError

    def _compile_call(self, name: str, argument_nodes: list[ast.expr]) -> Evaluate:
        function = self.FUNCTIONS.get(name)
        if function is None or not argument_nodes:
            raise ValueError
        if (len(argument_nodes) == 1) != (name == "abs"):
            raise ValueError
        arguments = [self._compile_value(node) for node in argument_nodes]
        return lambda fields: function(*(_require_number(a(fields)) for a in arguments))

    def _compile_field(self, name: str) -> Evaluate:
        if name in ("true", "false"):
            return lambda fields: name == "true"
        self.fields.add(name)

        def get_field(fields: Mapping[str, Any]) -> Any:
            value = fields.get(name)
            if not isinstance(value, (bool, int, float, str)):
                raise MissingFieldError(name)
            return value

        return get_field


def _require_number(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return value
