"""Overland: offline-seeded backup, from the source tree to the vault and back."""

import os

__version__ = "0.1.0"

# numpy's linear algebra is used by nobody here, yet when it is loaded it starts a thread for each
# further processor, which spins for a tenth of a second before it sleeps.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
