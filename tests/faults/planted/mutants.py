"""Prints the mutants of a Python file that cosmic-ray knows to make, each as a line of JSON: the whole text.

Runs in the environment of requirements-mutation.txt. Mutants of annotations and of ``if __name__ == "__main__"`` are left
out, since no call sees them.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names


class _Unseen(ast.NodeTransformer):
    """Takes out what no call sees."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Compare) and ast.unparse(node.test.left) == "__name__":
            node.test = ast.Constant(None)
        return self.generic_visit(node)


def meaning(source: str) -> str:
    """Return what a Python text says, apart from how it is written."""
    return ast.dump(_Unseen().visit(ast.parse(source)))


def mutants(source: str) -> Iterator[str]:
    """Yield each text that differs in one small thing."""
    seen = {meaning(source)}
    for name in operator_names():
        if (kind := get_operator(name)).arguments():
            continue
        operator = kind()
        places = [place for node in ast_nodes(get_ast(source)) for place in operator.mutation_positions(node)]
        for occurrence in range(len(places)):
            try:
                mutated = mutate_code(source, operator, occurrence)
                said = meaning(mutated)
            # Some are no Python, such as one star of a dictionary's two made another operator; and the operator that
            # replaces exceptions knows no name with a dot.
            except (SyntaxError, AttributeError):
                continue
            if said not in seen:
                seen.add(said)
                yield mutated


if __name__ == "__main__":
    for text in mutants(Path(sys.argv[1]).read_text(encoding="utf-8")):
        print(json.dumps(text))
