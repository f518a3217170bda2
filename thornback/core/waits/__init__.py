"""Why things wait: the graph of waits, sentences about it, and cycles in it.

Every process answers questions about the part of the graph that it knows: drivers and workers
(:class:`.process.ProcessReasons`), nodes (:class:`thornback.core.raylet.reasons.RayletReasons`) and the GCS
(:class:`thornback.core.gcs.reasons.GcsReasons`). Whoever wants to know more walks from one to the next
(:class:`.walk.Walk`).
"""
