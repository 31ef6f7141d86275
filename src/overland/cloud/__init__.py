"""The control plane: tenants, resources, import jobs and seeds, as use cases over a database.

Nothing here knows HTTP; `overland.server` turns requests into calls of these functions.

Of every use case the same holds: who lacks a permission gets `Forbidden`; who names a thing that is
not there, or that they may not know of, `ResourceAbsent` or `JobAbsent`; and who gives a thing a
name that breaks its rule, `Invalid`.  Docstrings say it only where there is more to tell.
"""
