"""The control plane: tenants, resources, import jobs and seeds, as use cases over a database.

Nothing here knows HTTP; `overland.server` turns requests into calls of these functions.
"""
