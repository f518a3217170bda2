"""Training with a parameter server that forgets when it dies: the program gives it its last weights and goes on."""

from __future__ import annotations

import time

import numpy as np

import thornback as ray
from thornback.faults.workloads.checks import check_equal

SIZE = 15_000
"""Weights: too many to travel inside messages."""
MODULUS = 1_000_003


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Server:
    """Holds the weights."""

    def __init__(self) -> None:
        self.version = -1
        self.weights = np.zeros(SIZE, dtype=np.int64)

    def restore(self, version: int, weights: np.ndarray) -> None:
        """Go on from a known state."""
        self.version, self.weights = version, weights.copy()

    def apply(self, version: int, *gradients: np.ndarray) -> np.ndarray | None:
        """Make the step to ``version``; None if the weights are not of the version before."""
        if self.version != version - 1:
            return None
        for gradient in gradients:
            self.weights = (self.weights + gradient) % MODULUS
        self.version = version
        return self.weights


@ray.remote(num_cpus=0.5, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class Trainer:
    """Computes gradients; keeps nothing."""

    def gradient(self, weights: np.ndarray, worker: int) -> np.ndarray:
        """The same for the same weights and worker."""
        time.sleep(0.05)
        return gradient(weights, worker)


def gradient(weights: np.ndarray, worker: int) -> np.ndarray:
    """Stands for a gradient; whole numbers, so that the result is exact in any order."""
    return (weights * (worker + 2) + np.arange(SIZE)) % MODULUS


def expected(steps: int, workers: int) -> np.ndarray:
    """The weights after so many steps."""
    weights = np.zeros(SIZE, dtype=np.int64)
    for _ in range(steps):
        gradients = [gradient(weights, worker) for worker in range(workers)]
        for each in gradients:
            weights = (weights + each) % MODULUS
    return weights


def main(steps: int = 15, workers: int = 4) -> None:
    """Train for some steps and compare the weights with those of one process."""
    ray.init(ignore_reinit_error=True)
    server, trainers = Server.remote(), [Trainer.remote() for _ in range(workers)]
    weights = np.zeros(SIZE, dtype=np.int64)
    ray.get(server.restore.remote(0, weights))
    step = 1
    while step <= steps:
        shared = ray.put(weights)
        gradients = [trainer.gradient.remote(shared, worker) for worker, trainer in enumerate(trainers)]
        updated = ray.get(server.apply.remote(step, *gradients))
        if updated is None:
            ray.get(server.restore.remote(step - 1, weights))
        else:
            weights = updated.copy()
            step += 1
        time.sleep(0.05)
    check_equal("the sum of the weights", int(weights.sum()), int(expected(steps, workers).sum()))
    check_equal("whether all weights are right", bool((weights == expected(steps, workers)).all()), True)


if __name__ == "__main__":
    main()
