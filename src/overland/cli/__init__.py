"""Commands, one module per machine; they build the adapters and call one use case each."""

import atexit
import gc
from typing import Final

_COLLECT_EVERY: Final = 100_000  # more than loading any command makes

# Python looks for cycles of dead objects after every 700 new ones, which in a program that is
# still loading finds none, and once more among all objects at the end, which nobody waits for:
# together a seventh of the time of a short command.
gc.set_threshold(_COLLECT_EVERY)
atexit.register(gc.freeze)
