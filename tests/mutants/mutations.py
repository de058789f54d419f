"""The mutants of a source file, and a sample of them that stays the same while the source does.

The operators are mutmut's; two are added for what it leaves alone: calls whose value is not used, and conditions that
are no comparison. Left out is what no test of behaviour can tell: docstrings, messages, annotations, decorators,
imports, assertions, and the lines that coverage is told to exclude.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst
from coverage import Coverage
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Lines = tuple[int, int]  # the first and the last

UNTOLD = (cst.Annotation, cst.Assert, cst.Decorator, cst.FormattedString, cst.Import, cst.ImportFrom, cst.Raise)
FOR_TYPES = {"Literal", "TypeVar", "cast"}
FOR_READERS = {"__all__", "__slots__"}
KEPT_CODE = 160  # of the characters of a change: those of a whole `match` would be a key that any change in it changes
OWN_CHOICE = (cst.Comparison, cst.BooleanOperation, cst.UnaryOperation)  # mutmut changes these itself


def drop_call(node: cst.Expr) -> Iterator[cst.BaseSmallStatement]:
    """Leave out a call, or the wait for one."""
    value = node.value.expression if isinstance(node.value, cst.Await) else node.value
    if isinstance(value, cst.Call):
        yield cst.Pass()


def negate(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """Turn a condition around."""
    if not isinstance(node.test, OWN_CHOICE):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


OPERATORS = (*mutation_operators, (cst.Expr, drop_call), ((cst.If, cst.While), negate))


@dataclass(frozen=True)
class Mutant:
    """A change of one place in one file."""

    key: str
    file: str
    operator: str
    line: int
    where: tuple[Lines, ...]  # lines whose tests can tell, the nearest first
    around: Lines  # the function, or else the file
    module: cst.Module
    before: cst.CSTNode
    after: cst.CSTNode

    def source(self) -> str:
        """The file with the change."""
        return self.module.deep_replace(self.before, self.after).code


class Finder(cst.CSTVisitor):
    """The visit of one file."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self, file: str, module: cst.Module, excluded: set[int]) -> None:
        super().__init__()
        self.mutants: list[Mutant] = []
        self.in_functions: set[int] = set()
        self._file, self._module, self._excluded = file, module, excluded
        self._texts = [text.strip() for text in module.code.split("\n")]
        self._seen: Counter[str] = Counter()

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Note the mutants of a node; `False` to go no deeper."""
        if isinstance(node, cst.FunctionDef):
            first, last = self._lines(node.body)
            self.in_functions |= {*range(first, last + 1)}
        if self._is_untold(node):
            return False
        for kind, operator in OPERATORS:
            if isinstance(node, kind) and not (operator.__name__ == "operator_string" and is_message(node)):
                for after in list(operator(node))[: 1 if operator.__name__ == "operator_string" else None]:
                    self._note(node, operator.__name__.removeprefix("operator_"), after)
        return True

    def _is_untold(self, node: cst.CSTNode) -> bool:
        match node:
            case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString())]):
                return True
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]) if name in FOR_READERS:
                return True
            case cst.Subscript(value=cst.Name(value=name)) | cst.Call(func=cst.Name(value=name)) if name in FOR_TYPES:
                return True
        is_statement = isinstance(node, cst.BaseStatement | cst.SimpleStatementLine | cst.ExceptHandler | cst.MatchCase)
        return isinstance(node, UNTOLD) or (is_statement and self._lines(node)[0] in self._excluded)

    def _lines(self, node: cst.CSTNode) -> Lines:
        place = self.get_metadata(PositionProvider, node)
        return place.start.line, place.end.line

    def _note(self, node: cst.CSTNode, operator: str, after: cst.CSTNode) -> None:
        line = self._lines(node)[0]
        key = " | ".join([self._file, self._texts[line - 1], operator, self._code(after)])
        self._seen[key] += 1
        if self._seen[key] > 1:
            key += f" | {self._seen[key]}"
        where = tuple(dict.fromkeys(self._where(node)))
        self.mutants.append(
            Mutant(key, self._file, operator, line, where, self._around(node), self._module, node, after)
        )

    def _code(self, node: cst.CSTNode) -> str:
        node = node.with_changes(body=cst.SimpleStatementSuite([])) if isinstance(node, cst.If | cst.While) else node
        node = node.with_changes(orelse=None) if isinstance(node, cst.If | cst.While) else node
        return " ".join(self._module.code_for_node(node).split())[:KEPT_CODE]

    def _around(self, node: cst.CSTNode) -> Lines:
        while not isinstance(node, cst.FunctionDef | cst.Module):
            node = self.get_metadata(ParentNodeProvider, node)
        return self._lines(node)

    def _where(self, node: cst.CSTNode) -> Iterator[Lines]:
        """The lines of the node, its statement, its function, its class, its file."""
        inner, is_run_by_tests = node, False
        near: list[Lines] = [] if isinstance(node, cst.BaseCompoundStatement) else [self._lines(node)]
        around: list[Lines] = []
        while not isinstance(inner, cst.Module):
            outer = self.get_metadata(ParentNodeProvider, inner)
            first, last = self._lines(inner)
            if isinstance(inner, cst.BaseStatement | cst.ExceptHandler | cst.MatchCase) and not around:
                near.append((first, first))
            if isinstance(outer, cst.FunctionDef):
                is_run_by_tests = is_run_by_tests or inner is outer.body
                around.append(self._lines(outer.body))
            elif isinstance(inner, cst.ClassDef):
                around.append((first, last))
            inner = outer
        yield from near if is_run_by_tests else ()
        yield from around
        yield (1, len(self._texts))


def is_message(node: cst.SimpleString) -> bool:
    """Whether a string is made for people: it has words."""
    return " " in node.value and "b" not in node.prefix.lower()


def mutants_of(root: Path, file: str) -> tuple[list[Mutant], set[int]]:
    """The mutants of a file, and the lines that run only when a function is called."""
    excluded = set(Coverage(data_file=None, config_file=str(root / "pyproject.toml")).analysis2(str(root / file))[2])
    wrapper = MetadataWrapper(cst.parse_module((root / file).read_text()))
    finder = Finder(file, wrapper.module, excluded)
    wrapper.visit(finder)
    return finder.mutants, finder.in_functions


def sample_of(mutants: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """As many mutants of each file as it has a share in all, of different operators and lines.

    The choice hangs on the seed and on each mutant's own key, so a change of one line moves few others.
    """
    rank = {mutant.key: hashlib.sha256(f"{seed} {mutant.key}".encode()).digest() for mutant in mutants}
    by_file: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(mutants, key=lambda mutant: rank[mutant.key]):
        by_file[mutant.file].append(mutant)
    share = {file: count * len(of_file) / len(rank) for file, of_file in by_file.items()}
    sizes = {file: max(1, int(size)) for file, size in share.items()}
    for file in sorted(share, key=lambda file: int(share[file]) - share[file])[: max(0, count - sum(sizes.values()))]:
        sizes[file] += 1
    return [mutant for file in sorted(by_file) for mutant in mixed(by_file[file])[: sizes[file]]]


def mixed(mutants: list[Mutant]) -> list[Mutant]:
    """The mutants with those first that are the first of their line, and each operator in turn."""
    lines: Counter[int] = Counter()
    turns: Counter[tuple[int, str]] = Counter()
    turn = {}
    for mutant in mutants:
        lines[mutant.line] += 1
        turns[lines[mutant.line], mutant.operator] += 1
        turn[mutant.key] = (lines[mutant.line], turns[lines[mutant.line], mutant.operator])
    return sorted(mutants, key=lambda mutant: turn[mutant.key])
