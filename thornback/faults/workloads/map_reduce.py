"""Counting words: mappers return a part for each reducer, reducers add the parts up. The counts must be exact."""

from __future__ import annotations

import random
import time
from collections import Counter

import thornback as ray
from thornback.faults.workloads.checks import check_equal

WORDS = ("ray", "skate", "torpedo", "sawfish", "stingaree", "manta", "thornback", "guitarfish")


def document(number: int, length: int) -> list[str]:
    """The same words for the same number."""
    return random.Random(number).choices(WORDS, k=length)


def reducer_of(word: str, reducers: int) -> int:
    """Which reducer counts a word."""
    return WORDS.index(word) % reducers


@ray.remote(max_retries=-1)
def count(number: int, length: int, reducers: int) -> list[Counter[str]]:
    """Counts of one document, a part for each reducer."""
    time.sleep(0.05)
    parts: list[Counter[str]] = [Counter() for _ in range(reducers)]
    for word in document(number, length):
        parts[reducer_of(word, reducers)][word] += 1
    return parts


@ray.remote(max_retries=-1)
def add(*parts: Counter[str]) -> Counter[str]:
    """The sum of the parts for one reducer."""
    time.sleep(0.05)
    return sum(parts, Counter())


def main(documents: int = 24, length: int = 200, reducers: int = 4, rounds: int = 3) -> None:
    """Count several times, each round after the one before."""
    ray.init(ignore_reinit_error=True)
    for first in range(0, rounds * documents, documents):
        numbers = range(first, first + documents)
        mapped = [count.options(num_returns=reducers).remote(number, length, reducers) for number in numbers]
        reduced = [add.remote(*parts) for parts in zip(*mapped, strict=True)]
        found = sum(ray.get(reduced), Counter())
        expected = Counter(word for number in numbers for word in document(number, length))
        check_equal(f"the count of words of documents {first} to {first + documents - 1}", found, expected)


if __name__ == "__main__":
    main()
