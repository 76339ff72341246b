"""Values of `.parameter` for the parameters a statement names; the others are NULL."""

from __future__ import annotations

from dosql_core.identifiers import SqlValue
from dosql_core.language.tokens import TokenKind, significant_tokens

Parameters = dict[str, SqlValue] | list[SqlValue] | tuple[()]


def parameters_for(sql: str, values: dict[str, SqlValue]) -> Parameters:
    """What to bind to the statement.

    Shape: `values` are keyed as typed (`:name`, `?1`). The answer is a mapping where the statement
    only names parameters, otherwise a list in the order SQLite numbers them.
    """
    if not any(mark in sql for mark in "?:@$"):  # nearly every statement, so asked cheaply
        return ()
    names = [token.text for token in significant_tokens(sql) if token.kind is TokenKind.PARAMETER]
    if not names:
        return ()
    if not any(name.startswith("?") for name in names):
        return {name[1:]: values.get(name) for name in names}
    numbered: dict[int, SqlValue] = {}
    number_of_name: dict[str, int] = {}
    for name in names:
        if name == "?":
            number = max(numbered, default=0) + 1
        elif name.startswith("?"):
            number = int(name[1:])
        else:
            number = number_of_name.setdefault(name, max(numbered, default=0) + 1)
        numbered[number] = values.get(f"?{number}") if name.startswith("?") else values.get(name)
    return [numbered.get(number) for number in range(1, max(numbered) + 1)]
