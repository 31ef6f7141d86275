"""Checks whose packs are proven by processes, however small they are."""

import pytest

from overland.agent.check import packs

__all__ = ["check_by_processes"]


def check_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two processes prove the packs of folders, also beside threads of a test's machinery."""
    monkeypatch.setattr(packs, "_MANY_BYTES", 0)
    monkeypatch.setattr(packs, "can_fork", lambda: True)
    monkeypatch.setattr(packs, "processors", lambda: 2)
