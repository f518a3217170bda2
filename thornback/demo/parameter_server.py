"""A parameter server: one actor holds a model, several others compute gradients for it, each at its own pace.

Usage: python parameter_server.py DIGITS.CSV[.GZ] [ACCURACY]

The file holds the UCI handwritten digits, one per line: 64 pixels (0 to 16), then the digit. A softmax classifier
trains on three quarters of them until it names at least ACCURACY (default 0.95) of the others. The last line of output
is the result as JSON.
"""

import json
import sys
import time

import numpy as np

import thornback as ray

WORKERS = 4
BATCH = 64
RATE = 0.1
EVALUATE_EVERY = 100
MOST_UPDATES = 20_000


def probabilities(weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """How likely the model finds each digit for each image."""
    scores = images @ weights
    likely: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    return likely


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Server:
    """Holds the weights. After a crash it starts again from zero, and the training goes on."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.weights = np.zeros((inputs, outputs))

    def apply(self, gradient: np.ndarray) -> np.ndarray:
        """Make one step and return the new weights."""
        self.weights = self.weights - RATE * gradient
        return self.weights

    def accuracy(self, images: np.ndarray, digits: np.ndarray) -> float:
        """Share of the images that the model names rightly."""
        return float((probabilities(self.weights, images).argmax(axis=1) == digits).mean())


@ray.remote(max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class Worker:
    """Computes gradients on batches of its own, drawn at random."""

    def __init__(self, seed: int, images: np.ndarray, digits: np.ndarray) -> None:
        self.random = np.random.default_rng(seed)
        self.images, self.digits = images, digits

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """Where the loss of one batch falls."""
        batch = self.random.integers(len(self.images), size=BATCH)
        images, wanted = self.images[batch], np.eye(weights.shape[1])[self.digits[batch]]
        gradient: np.ndarray = images.T @ (probabilities(weights, images) - wanted) / BATCH
        return gradient


def load(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (with a constant pixel, for the bias) and the digits they show, in an order of no meaning."""
    table = np.loadtxt(path, delimiter=",")
    table = table[np.random.default_rng(0).permutation(len(table))]
    return np.hstack([table[:, :-1] / 16, np.ones((len(table), 1))]), table[:, -1].astype(int)


def main() -> None:
    """Train until the model is good enough, and print how good it is."""
    target = float(sys.argv[2]) if len(sys.argv) > 2 else 0.95
    images, digits = load(sys.argv[1])
    split = len(images) * 3 // 4
    ray.init()
    started = time.perf_counter()
    train = ray.put(images[:split]), ray.put(digits[:split])
    test = ray.put(images[split:]), ray.put(digits[split:])
    server = Server.remote(images.shape[1], 10)
    workers = [Worker.remote(seed, *train) for seed in range(WORKERS)]
    zeros = np.zeros((images.shape[1], 10))
    running = {worker.gradient.remote(zeros): worker for worker in workers}
    updates, evaluations, accuracy = 0, 0, 0.0
    while accuracy < target and updates < MOST_UPDATES:
        [gradient], _ = ray.wait(list(running), num_returns=1)
        worker = running.pop(gradient)
        weights = server.apply.remote(gradient)
        running[worker.gradient.remote(weights)] = worker
        updates += 1
        if updates % EVALUATE_EVERY == 0:
            accuracy = ray.get(server.accuracy.remote(*test))
            evaluations += 1
            print(f"{updates} updates: {accuracy:.1%} of the test images named rightly", flush=True)
    seconds = time.perf_counter() - started
    tasks = 1 + WORKERS + 2 * updates + evaluations
    summary = {"accuracy": round(accuracy, 4), "target": target, "updates": updates}
    print(json.dumps({"result": summary, "tasks": tasks, "seconds": round(seconds, 3)}))
    ray.shutdown()
    sys.exit(0 if accuracy >= target else 1)


if __name__ == "__main__":
    main()
