"""The demonstration: two ordinary programs, and the runner that takes them through both worlds.

:mod:`.inverted_index` and :mod:`.parameter_server` are meant to be read. :mod:`.runner` is behind ``thornback demo``.
"""
