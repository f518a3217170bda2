"""The ceilings: what this machine does when nothing but the move itself is done."""

from __future__ import annotations

import mmap
import os
import pickle
import select
import socket
from collections.abc import Callable
from struct import Struct

import numpy as np

from peers_support.bench import Bench
from peers_support.rows import Metric, probe

GROUP = "ceilings"
ENGINE = "bare"
_HEADER = Struct("<I")
_DEPTH = 64
_COPY = 256 << 20


def _serve_echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def _frames(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames in ``data``, and the rest."""
    found, start = [], 0
    while len(data) - start >= _HEADER.size:
        (size,) = _HEADER.unpack_from(data, start)
        end = start + _HEADER.size + size
        if len(data) < end:
            break
        found.append(data[start + _HEADER.size : end])
        start = end
    return found, data[start:]


def _send(sock: socket.socket, content: object) -> None:
    body = pickle.dumps(content, 5)
    sock.sendall(_HEADER.pack(len(body)) + body)


def _serve_tasks(sock: socket.socket) -> None:
    rest = b""
    while data := sock.recv(1 << 18):
        frames, rest = _frames(rest + data)
        results = []
        for frame in frames:
            for task, arguments in pickle.loads(frame):
                results.append((task, pickle.dumps(pickle.loads(arguments)[0], 5)))
        if results:
            _send(sock, results)


def _fork(serve: Callable[[socket.socket], None]) -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    return ours, pid


class _Pipeline:
    """Batches of pickled tasks to forked workers: the least that a task engine in Python could do."""

    def __init__(self, workers: int) -> None:
        self.forks = [_fork(_serve_tasks) for _ in range(workers)]
        self.socks = {sock.fileno(): sock for sock, _ in self.forks}
        self.load = dict.fromkeys(self.socks, 0)
        self.rest = dict.fromkeys(self.socks, b"")
        self.poll = select.epoll()
        for descriptor in self.socks:
            self.poll.register(descriptor, select.EPOLLIN)
        self.queue: list[tuple[bytes, bytes]] = []
        self.results: dict[bytes, bytes] = {}
        self.counter = 0

    def submit(self, value: object) -> bytes:
        """Queue a task; returns its id."""
        self.counter += 1
        task = self.counter.to_bytes(16, "little")
        self.queue.append((task, pickle.dumps((value,), 5)))
        return task

    def get(self, task: bytes) -> object:
        """The result of a task."""
        self._push()
        while task not in self.results:
            self._collect()
            self._push()
        return pickle.loads(self.results.pop(task))

    def _push(self) -> None:
        for descriptor, sock in self.socks.items():
            count = min(_DEPTH - self.load[descriptor], len(self.queue))
            if count > 0:
                _send(sock, self.queue[-count:])
                del self.queue[-count:]
                self.load[descriptor] += count

    def _collect(self) -> None:
        for descriptor, _ in self.poll.poll():
            received = self.socks[descriptor].recv(1 << 18)
            frames, self.rest[descriptor] = _frames(self.rest[descriptor] + received)
            for frame in frames:
                results = pickle.loads(frame)
                self.results.update(results)
                self.load[descriptor] -= len(results)

    def close(self) -> None:
        """End the workers."""
        for sock, _ in self.forks:
            sock.close()
        for _, pid in self.forks:
            os.waitpid(pid, 0)


@probe("socket", [Metric("unix socket round trip, 100 bytes")], GROUP, engines=(ENGINE,))
def round_trip(bench: Bench) -> float:
    """A message to another process and back."""
    sock, pid = _fork(_serve_echo)
    message = b"x" * 100

    def work() -> None:
        sock.send(message)
        sock.recv(65536)

    try:
        return bench.rate(work)
    finally:
        sock.close()
        os.waitpid(pid, 0)


@probe(
    "pipeline",
    [Metric("bare pipeline, one by one", "tasks/s"), Metric("bare pipeline, all at once", "tasks/s")],
    GROUP,
    engines=(ENGINE,),
)
def pipeline(bench: Bench) -> tuple[float, float]:
    """Tasks as pickled batches, with a worker per CPU."""
    bare = _Pipeline(bench.cpus)

    def batch() -> None:
        for task in [bare.submit(number) for number in range(1000)]:
            bare.get(task)

    try:
        return bench.rate(lambda: bare.get(bare.submit(0))), bench.rate(batch, 1000)
    finally:
        bare.close()


@probe(
    "copy",
    [Metric("memory copy, warm", "GB/s"), Metric("copy into fresh shared memory", "GB/s")],
    GROUP,
    engines=(ENGINE,),
)
def copy(bench: Bench) -> tuple[float, float]:
    """256 MB from private memory into shared memory, whose pages were or were not touched before."""
    source = np.ones(_COPY, np.uint8)
    descriptor = os.memfd_create("ceiling")
    try:
        os.ftruncate(descriptor, _COPY)
        target = np.frombuffer(mmap.mmap(descriptor, _COPY), np.uint8)
        fresh = _COPY / bench.once(lambda: np.copyto(target, source)) / 1e9
        return bench.rate(lambda: np.copyto(target, source), _COPY / 1e9), fresh
    finally:
        os.close(descriptor)
