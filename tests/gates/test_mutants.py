"""The gate of the mutation suite: a change of ``core/`` that moves code takes the planted bugs along."""

from __future__ import annotations

import pytest

from tests.mutations.mutants import MUTANTS


@pytest.mark.parametrize("name", MUTANTS)
def test_the_snippet_is_there(name: str) -> None:
    """Otherwise the mutant means nothing any more: choose another snippet that has the same effect."""
    mutant = MUTANTS[name]
    changed = mutant.mutated(mutant.file.read_text(encoding="utf-8"))
    compile(changed, str(mutant.file), "exec", dont_inherit=True)
