"""What the engine's own work per task costs: submitting, dispatching, taking replies, letting go. No sockets."""

from __future__ import annotations

from typing import Any

import pytest
from parts import LoneDriver, LoneWorker

from thornback.core.messages import TaskReplies, decode, encode
from thornback.core.owner.task import Task

TASKS = 1000
ROUNDS = 30


@pytest.fixture
def driver() -> LoneDriver:
    """A driver with leased workers that are known to be fast."""
    made = LoneDriver()
    made.warm()
    return made


def finish(driver: LoneDriver, tasks: list[Task]) -> None:
    """Bring all tasks to their end and forget them."""
    driver.run_all()
    driver.drop(tasks)
    assert not driver.owner.tasks.table and not driver.owner.references.table


def test_submit_1000(benchmark: Any, driver: LoneDriver) -> None:
    """A record for each task and for its result."""
    made: list[Task] = []

    def submit() -> None:
        made.extend(driver.submit(TASKS))

    benchmark.pedantic(submit, rounds=ROUNDS)
    assert driver.owner.tasks.unfinished == len(made)
    finish(driver, made)


def test_dispatch_1000(benchmark: Any, driver: LoneDriver) -> None:
    """From the queue into messages to workers, and again as they answer; the answers are counted too."""
    made: list[Task] = []

    def setup() -> None:
        finish(driver, made)
        made[:] = driver.submit(TASKS)

    benchmark.pedantic(driver.run_all, setup=setup, rounds=ROUNDS)
    finish(driver, made)


def test_reply_to_all_in_flight(benchmark: Any, driver: LoneDriver) -> None:
    """The first answer of every worker, to as many tasks as it was sent."""
    made: list[Task] = []

    def setup() -> tuple[tuple[list[tuple[bytes, TaskReplies]]], dict[str, Any]]:
        finish(driver, made)
        made[:] = driver.submit(TASKS)
        driver.core.end_turn()
        replies = driver.pushed()
        assert replies
        return (replies,), {}

    benchmark.pedantic(driver.answer, setup=setup, rounds=ROUNDS)
    finish(driver, made)


def test_drop_1000_references(benchmark: Any, driver: LoneDriver) -> None:
    """Collected references: the values and their records go."""
    made: list[Task] = []

    def setup() -> tuple[tuple[list[Task]], dict[str, Any]]:
        made[:] = driver.submit(TASKS)
        driver.run_all()
        return (made,), {}

    benchmark.pedantic(driver.drop, setup=setup, rounds=ROUNDS)
    assert not driver.owner.references.table


def test_one_task_through_the_owner(benchmark: Any, driver: LoneDriver) -> None:
    """Submit, dispatch, reply, let go: all of a sync call but pickling, the lock and the socket."""

    def call() -> None:
        tasks = driver.submit(1)
        driver.core.end_turn()
        driver.answer(driver.pushed())
        driver.drop(tasks)

    benchmark(call)
    assert not driver.owner.references.table


def test_100_tasks_through_a_worker(benchmark: Any) -> None:
    """Taken, run and answered."""
    worker = LoneWorker()
    benchmark.pedantic(worker.run, setup=lambda: ((worker.push(100),), {}), rounds=ROUNDS)
    assert not worker.executor.running


def test_encode_100_tasks(benchmark: Any) -> None:
    """Into the bytes of a message."""
    message = LoneWorker().push(100)
    benchmark(encode, [message])


def test_decode_100_tasks(benchmark: Any) -> None:
    """Out of the bytes of a message, checked."""
    message = LoneWorker().push(100)
    body = encode([message])
    assert benchmark(decode, body) == [message]
