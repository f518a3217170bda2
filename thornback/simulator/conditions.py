"""What is wrong with the network right now: rules, and their sum for each pair of nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault of all links from some nodes to others. Nodes are given by index; None is all of them.

    Attributes:
        loss, duplicate, reorder: probabilities per batch of messages.
        window: nanoseconds up to which a reordered batch is late.
        delay, jitter: nanoseconds, fixed and random.
        bandwidth: factor.
        one_way: only from ``sources`` to ``targets``.
    """

    sources: frozenset[int] | None = None
    targets: frozenset[int] | None = None
    one_way: bool = False
    cut: bool = False
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    window: int = 0
    delay: int = 0
    jitter: int = 0
    bandwidth: float = 1.0

    def applies(self, source: int, target: int) -> bool:
        """Whether it concerns messages in this direction."""
        return self._matches(source, target) or (not self.one_way and self._matches(target, source))

    def _matches(self, source: int, target: int) -> bool:
        return (self.sources is None or source in self.sources) and (self.targets is None or target in self.targets)


HEALTHY = Rule()


def combine(rules: list[Rule]) -> Rule:
    """One rule with the effect of all of them."""
    if not rules:
        return HEALTHY
    lossless = undoubled = ordered = 1.0
    bandwidth = 1.0
    for rule in rules:
        lossless *= 1 - rule.loss
        undoubled *= 1 - rule.duplicate
        ordered *= 1 - rule.reorder
        bandwidth *= rule.bandwidth
    return Rule(
        cut=any(rule.cut for rule in rules),
        loss=1 - lossless,
        duplicate=1 - undoubled,
        reorder=1 - ordered,
        window=max(rule.window for rule in rules),
        delay=sum(rule.delay for rule in rules),
        jitter=sum(rule.jitter for rule in rules),
        bandwidth=bandwidth,
    )


class Conditions:
    """The rules in force.

    Args:
        changed: called after each change.

    Attributes:
        active: whether anything is wrong anywhere.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._rules: dict[int, Rule] = {}
        self._added = 0
        self._sums: dict[tuple[int, int], Rule] = {}
        self.active = False

    def add(self, rule: Rule) -> int:
        """Put a rule into force; the result is its number for :meth:`remove`."""
        self._added += 1
        self._rules[self._added] = rule
        self._note_change()
        return self._added

    def remove(self, number: int) -> None:
        """End a rule; does nothing when repeated."""
        if self._rules.pop(number, None) is not None:
            self._note_change()

    def clear(self) -> None:
        """End all rules."""
        self._rules.clear()
        self._note_change()

    def _note_change(self) -> None:
        self.active = bool(self._rules)
        self._sums.clear()
        self._changed()

    def between(self, source: int, target: int) -> Rule:
        """The sum of all rules for messages in this direction."""
        key = (source, target)
        found = self._sums.get(key)
        if found is None:
            found = combine([rule for rule in self._rules.values() if rule.applies(source, target)])
            self._sums[key] = found
        return found
