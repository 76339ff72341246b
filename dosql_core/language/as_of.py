"""AS OF in a query: the references it stands at, and the query as SQLite can run it.

Every table reference that carries a moment is rewritten to the same table of another schema, in
which the caller has attached the database as it was. Everything else stays verbatim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dosql_core.language.moments import MomentClause
from dosql_core.language.parameters import (
    Parameter,
    Parameters,
    count_parameters,
    values_of,
)
from dosql_core.language.table_references import PastReference, find_past_references
from dosql_core.language.token_cursor import TokenCursor
from dosql_core.language.tokens import quoted_name

_SEPARATES = ("", " ", "\n", "\t", "\r", ",", ")", ";")


@dataclass(frozen=True, slots=True)
class AsOfQuery:
    """A statement with AS OF clauses, taken apart.

    Shape: `clauses` are the distinct moments; equal ones share a clause, so one view serves them.
           `pieces` are the text between references, one more than `reference_clauses`, which says
           for each reference in the text which clause it is as of. `remaining` are the parameters
           left in the rendered text, in SQLite's order there.
    """

    clauses: tuple[MomentClause, ...]
    pieces: tuple[str, ...]
    reference_clauses: tuple[int, ...]
    remaining: tuple[Parameter, ...]
    parameter_count: int

    def render(self, schemas: Sequence[str]) -> str:
        """The SQL that reads each reference from the schema of its clause.

        Shape: `schemas` are unquoted names, one for each of `clauses`, in their order.
        """
        parts = [self.pieces[0]]
        for clause, piece in zip(self.reference_clauses, self.pieces[1:], strict=True):
            parts += quoted_name(schemas[clause]), piece
        return "".join(parts)

    def split_parameters(
        self, parameters: Parameters | None
    ) -> tuple[list[tuple[Any, ...]], Parameters]:
        """The values of each clause, and what to bind to the rendered statement.

        Shape: a clause's values are in the order of its `all_parameters`.
        Errors: ProgrammingError when a value is missing or there are too many.
        """
        if not any(clause.all_parameters for clause in self.clauses):
            return [() for _ in self.clauses], () if parameters is None else parameters
        of_clauses = [
            values_of(clause.all_parameters, parameters, self.parameter_count)
            for clause in self.clauses
        ]
        if not isinstance(parameters, Mapping):
            return of_clauses, values_of(self.remaining, parameters, self.parameter_count)
        renumbered = {
            str(number): parameters[parameter.name]
            for number, parameter in enumerate(self.remaining, 1)
            if parameter.name is not None and parameter.name.isdecimal()
        }
        return of_clauses, {**parameters, **renumbered} if renumbered else parameters


def find_as_of(sql: str) -> AsOfQuery | None:
    """The statement's AS OF clauses; None when it has none.

    Errors: TimeTravelSyntaxError where one is written wrongly or stands where it cannot;
            NotSupportedError for ranges of time.
    """
    cursor = TokenCursor(sql)
    references = find_past_references(cursor)
    if not references:
        return None
    clauses: dict[MomentClause, int] = {}
    reference_clauses = tuple(
        clauses.setdefault(reference.moment, len(clauses)) for reference in references
    )
    remaining, edits = _renumber(cursor, references)
    for reference in references:
        alias = f" AS {quoted_name(reference.table)}" if reference.needs_alias else ""
        edits.append(
            _Edit(
                reference.name_start,
                reference.name_end,
                f".{quoted_name(reference.table)}{alias}",
                follows_schema=True,
            )
        )
        before = sql[: reference.clause_start].rstrip(" \t")
        is_tight = sql[reference.clause_end : reference.clause_end + 1] not in _SEPARATES
        edits.append(_Edit(len(before), reference.clause_end, " " if is_tight else ""))
    return AsOfQuery(
        clauses=tuple(clauses),
        pieces=_pieces(sql, edits),
        reference_clauses=reference_clauses,
        remaining=remaining,
        parameter_count=count_parameters(cursor.parameters.values()),
    )


class _Edit(NamedTuple):
    """What to write instead of a stretch of the text, perhaps behind the name of a schema."""

    start: int
    end: int
    text: str
    follows_schema: bool = False


def _pieces(sql: str, edits: list[_Edit]) -> tuple[str, ...]:
    """The edited text, cut where names of schemas go."""
    pieces = [""]
    position = 0
    for edit in sorted(edits):
        pieces[-1] += sql[position : edit.start]
        if edit.follows_schema:
            pieces.append("")
        pieces[-1] += edit.text
        position = edit.end
    pieces[-1] += sql[position:]
    return tuple(pieces)


def _renumber(
    cursor: TokenCursor, references: list[PastReference]
) -> tuple[tuple[Parameter, ...], list[_Edit]]:
    """The parameters left outside of the clauses, and the edits that number them without gaps.

    Numbering them in the order in which they first occur is what SQLite itself does to `?` and
    `:name`, so only a `?5` has to be written anew.
    """
    numbers: dict[int, int] = {}
    remaining: list[Parameter] = []
    edits: list[_Edit] = []
    for start, parameter in cursor.parameters.items():
        if any(r.clause_start <= start < r.clause_end for r in references):
            continue
        if parameter.position not in numbers:
            numbers[parameter.position] = len(numbers) + 1
            remaining.append(parameter)
        written = parameter.name
        if written is not None and cursor.sql[start] == "?":
            number = numbers[parameter.position]
            edits.append(_Edit(start, start + 1 + len(written), f"?{number}"))
    if not any(reference.moment.all_parameters for reference in references):
        return tuple(remaining), []  # nothing was taken out, so the user's numbers still hold
    return tuple(remaining), edits
