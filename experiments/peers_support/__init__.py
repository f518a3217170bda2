"""The parts of ``experiments/peers.py``.

``rows*`` say what is measured; ``child`` and ``bench`` run in the process of an engine and measure; ``environments``
and ``conductor`` run those processes in turn; ``results`` and ``report`` make numbers into a table and a plot.

Modules whose names start with ``rows``, and ``bench``, ``child`` and ``processes``, are imported in the environments of
other engines as well: they use the standard library and NumPy only.
"""
