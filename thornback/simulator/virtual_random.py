"""Random numbers of user code: seeded, with a stream for each simulated process."""

from __future__ import annotations

import os
import random
import secrets
import sys
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from thornback.simulator import seeds
from thornback.simulator.patches import Patches
from thornback.simulator.surroundings import Surroundings

_FUNCTIONS = (
    *("seed", "random", "uniform", "triangular", "randint", "choice", "randrange", "sample", "shuffle", "choices"),
    *("normalvariate", "lognormvariate", "expovariate", "vonmisesvariate", "gammavariate", "gauss", "betavariate"),
    *("binomialvariate", "paretovariate", "weibullvariate", "getstate", "setstate", "getrandbits", "randbytes"),
)


def install(patches: Patches) -> None:
    """Replace every source of random numbers of the standard library and of numpy."""
    for name in _FUNCTIONS:
        original = getattr(random, name, None)
        if original is not None:
            patches.replace(random, name, _method(patches, original, name))
    patches.replace(random.Random, "seed", _seed(patches, random.Random.seed))
    for owner, name in ((os, "urandom"), (random, "_urandom")):
        patches.replace(owner, name, _urandom(patches, getattr(owner, name)))
    patches.replace(uuid, "uuid1", _uuid1(patches, uuid.uuid1))
    patches.replace(uuid, "uuid4", _uuid4(patches, uuid.uuid4))
    patches.replace(uuid, "getnode", _getnode(patches, uuid.getnode))
    assert secrets is not None  # its functions draw from random._urandom
    _install_class_ids(patches)
    if "numpy.random" in sys.modules or _numpy_is_there():
        _install_numpy(patches)


def _method(patches: Patches, original: Any, name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        thread = patches.caller()
        if thread is None:
            return original(*args, **kwargs)
        return getattr(thread.surroundings.numbers, name)(*args, **kwargs)

    return function


def _seed(patches: Patches, original: Any) -> Any:
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:
            thread = patches.caller()
            if thread is not None:
                a = thread.surroundings.entropy.getrandbits(64)
        original(self, a, version)

    return seed


def _urandom(patches: Patches, original: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def urandom(size: int, /) -> bytes:
        thread = patches.caller()
        return original(size) if thread is None else thread.surroundings.random_bytes(size)

    return urandom


def _uuid1(patches: Patches, original: Any) -> Any:
    def uuid1(node: int | None = None, clock_seq: int | None = None) -> Any:
        thread = patches.caller()
        if thread is None:
            return original(node, clock_seq)
        surroundings = thread.surroundings
        moment = surroundings.wall() // 100 + 0x01B21DD213814000
        sequence = surroundings.entropy.getrandbits(14) if clock_seq is None else clock_seq
        fields = (
            moment & 0xFFFFFFFF,
            (moment >> 32) & 0xFFFF,
            (moment >> 48) & 0x0FFF,
            (sequence >> 8) & 0x3F,
            sequence & 0xFF,
            _hardware_address(surroundings) if node is None else node,
        )
        return uuid.UUID(fields=fields, version=1)

    return uuid1


def _uuid4(patches: Patches, original: Any) -> Any:
    def uuid4() -> uuid.UUID:
        thread = patches.caller()
        return original() if thread is None else uuid.UUID(bytes=thread.surroundings.random_bytes(16), version=4)

    return uuid4


def _getnode(patches: Patches, original: Any) -> Any:
    def getnode() -> int:
        thread = patches.caller()
        return original() if thread is None else _hardware_address(thread.surroundings)

    return getnode


def _hardware_address(surroundings: Surroundings) -> int:
    return 0x020000000000 + surroundings.node.index


def _install_class_ids(patches: Patches) -> None:
    """cloudpickle knows each class that it pickles by value by a uuid, for as long as the interpreter lives. Those that
    one simulation draws come again in the next one of the same seed, for other classes: each keeps its own, and the
    bytes with them."""
    from cloudpickle import cloudpickle

    from thornback.core import serialization

    patches.replace(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", weakref.WeakKeyDictionary())
    patches.replace(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", weakref.WeakValueDictionary())
    patches.replace(serialization, "_loaded_functions", weakref.WeakKeyDictionary())


# --- numpy ------------------------------------------------------------------------------------------------------------


def _numpy_is_there() -> bool:
    try:
        import numpy.random
    except ImportError:
        return False
    return hasattr(numpy.random, "mtrand")


def _install_numpy(patches: Patches) -> None:
    import numpy.random
    from numpy.random import mtrand

    shared = mtrand._rand
    virtual = _virtual_state_class(patches, shared)(0)
    for name in dir(shared):
        if not name.startswith("_") and getattr(numpy.random, name, None) == getattr(shared, name):
            patches.replace(numpy.random, name, getattr(virtual, name))
    for name in ("random_sample", "sample", "ranf", "seed"):
        if name in vars(numpy.random) and vars(numpy.random)[name] is vars(mtrand).get(name):
            source = "random_sample" if name in ("sample", "ranf") else name
            patches.replace(numpy.random, name, getattr(virtual, source))
    patches.replace(mtrand, "_rand", virtual)


def _virtual_state_class(patches: Patches, shared: Any) -> type:
    """A RandomState whose every method uses the state of the simulated process that calls it."""
    import numpy.random

    states: dict[bytes, Any] = {}

    def state() -> Any:
        thread = patches.caller()
        if thread is None:
            return shared
        name = thread.surroundings.name
        found = states.get(name)
        if found is None:
            seed = seeds.derive(thread.world.seed, name, "numpy") & 0xFFFFFFFF
            found = states[name] = numpy.random.RandomState(seed)
        return found

    def delegate(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(state(), name)(*args, **kwargs)

        method.__name__ = name
        return method

    names = [name for name in dir(numpy.random.RandomState) if not name.startswith("_")]
    members = {name: delegate(name) for name in names}
    return type("RandomState", (numpy.random.RandomState,), {**members, "__reduce__": lambda self: (_shared, ())})


def _shared() -> Any:
    from numpy.random import mtrand

    return mtrand._rand
