"""AS OF and periods in a query: the references they stand at, and the query as SQLite can run it.

Every table reference that carries a moment is rewritten to the same table of another schema, in
which the caller has attached the database as it was; one with a period, or to `dosql_diff`, to a
table that the caller has registered. Everything else stays verbatim.
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
from dosql_core.language.periods import DifferenceClause, PeriodClause
from dosql_core.language.table_references import PastReference, find_past_references
from dosql_core.language.token_cursor import TokenCursor
from dosql_core.language.tokens import quoted_name

Clause = MomentClause | PeriodClause | DifferenceClause
_SEPARATES = ("", " ", "\n", "\t", "\r", ",", ")", ";")


@dataclass(frozen=True, slots=True)
class AsOfQuery:
    """A statement with clauses about the past, taken apart.

    Shape: `clauses` are the distinct ones; equal ones share a clause, so one view serves them.
           `pieces` are the text between references, one more than `references`, which says for
           each reference in the text which clause it has, and its table. `remaining` are the
           parameters left in the rendered text, in SQLite's order there.
    """

    clauses: tuple[Clause, ...]
    pieces: tuple[str, ...]
    references: tuple[tuple[int, str], ...]
    remaining: tuple[Parameter, ...]
    parameter_count: int

    def render(self, sources: Sequence[str]) -> str:
        """The SQL that reads each reference from the source of its clause.

        Shape: a source is the unquoted name of a schema for a moment, and what stands in FROM as it
               is for any other clause; one for each of `clauses`, in their order.
        """
        parts = [self.pieces[0]]
        for (clause, table), piece in zip(self.references, self.pieces[1:], strict=True):
            source = sources[clause]
            if isinstance(self.clauses[clause], MomentClause):
                source = f"{quoted_name(source)}.{quoted_name(table)}"
            parts += source, piece
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
    """The statement's clauses about the past; None when it has none.

    Errors: TimeTravelSyntaxError where one is written wrongly or stands where it cannot.
    """
    cursor = TokenCursor(sql)
    references = sorted(find_past_references(cursor), key=lambda found: found.name_start)
    if not references:
        return None
    clauses: dict[Clause, int] = {}
    numbered = tuple(
        (clauses.setdefault(reference.clause, len(clauses)), reference.table)
        for reference in references
    )
    remaining, edits = _renumber(cursor, references)
    for reference in references:
        edits.append(_Edit(reference.name_start, reference.name_end, "", is_reference=True))
        if reference.alias is not None:
            at = reference.alias_at
            edits.append(_Edit(at, at, f" AS {quoted_name(reference.alias)}"))
        if reference.clause_start < reference.clause_end:
            before = sql[: reference.clause_start].rstrip(" \t")
            is_tight = sql[reference.clause_end : reference.clause_end + 1] not in _SEPARATES
            edits.append(_Edit(len(before), reference.clause_end, " " if is_tight else ""))
    return AsOfQuery(
        clauses=tuple(clauses),
        pieces=_pieces(sql, edits),
        references=numbered,
        remaining=remaining,
        parameter_count=count_parameters(cursor.parameters.values()),
    )


class _Edit(NamedTuple):
    """What to write instead of a stretch of the text, or that a reference goes there."""

    start: int
    end: int
    text: str
    is_reference: bool = False


def _pieces(sql: str, edits: list[_Edit]) -> tuple[str, ...]:
    """The edited text, cut where references go."""
    pieces = [""]
    position = 0
    for edit in sorted(edits):
        pieces[-1] += sql[position : edit.start]
        if edit.is_reference:
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
    if not any(reference.clause.all_parameters for reference in references):
        return tuple(remaining), []  # nothing was taken out, so the user's numbers still hold
    return tuple(remaining), edits
