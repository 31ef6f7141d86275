"""How the durable engine keeps works in its file: as JSON, never as pickled objects.

Imports DBOS, which costs more than a second; only `engine.DbosEngine.launch` imports this module.
"""

import json

from dbos import Serializer

from overland.errors import OverlandError

__all__ = ["JsonSerializer", "WorkFailed"]


class WorkFailed(Exception):
    """What a step raised, read back from the file: its code and its text."""


class JsonSerializer(Serializer):
    """Arguments and results are texts already; an exception becomes one, whatever it was."""

    def serialize(self, data: object) -> str:  # type: ignore[explicit-override] # typing's is 3.12's
        """Return a value or an exception as JSON."""
        if isinstance(data, BaseException):
            return json.dumps({"failed": _told(data)})
        return json.dumps({"value": data})

    def deserialize(self, serialized_data: str) -> object:  # type: ignore[explicit-override] # as above
        """Return the value, or a `WorkFailed` with the exception's text."""
        fields = json.loads(serialized_data)
        return WorkFailed(fields["failed"]) if "failed" in fields else fields["value"]

    def name(self) -> str:  # type: ignore[explicit-override] # as above
        """Return what DBOS stores beside each value."""
        return "overland-json-1"


def _told(error: BaseException) -> str:
    if isinstance(error, WorkFailed):  # a recorded step's, raised again by its work
        return str(error)
    name = error.code if isinstance(error, OverlandError) else type(error).__name__
    return f"{name}: {error}"
