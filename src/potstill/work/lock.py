"""A directory is held by one process at a time, on local disks and on network disks."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import lock_descriptor

from potstill.durable import ELSEWHERE
from potstill.errors import PotstillError


class Hold:
    """A directory that this process has for itself until it releases it, or ends."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another process have the directory."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def hold(root: Path, elsewhere: str = ELSEWHERE) -> Hold:
    """Hold a directory that is there.

    Where a system locks directories the directory itself is locked, so that no lock file is left
    in it or beside it. Windows opens none, and NFS locks none: there the lock is on the hidden file
    `.NAME.lock` beside it, which stays, empty, since to remove it could let two processes in. The
    lock of a process that was killed is gone with it either way. Where neither can be locked the
    work goes on without. Raises PotstillError where another process holds the directory, which ends
    on `elsewhere`.
    """
    for opened in (_directory, _file_beside):
        try:
            descriptor = opened(root)
        except OSError:
            continue
        try:
            free = lock_descriptor(descriptor, blocking=False)
        except OSError:
            os.close(descriptor)
            continue
        if free:
            return Hold(descriptor)
        os.close(descriptor)
        raise PotstillError(
            f"{root} is in use by another potstill process; wait until it has ended, or {elsewhere}"
        )
    return Hold(None)


def _directory(root: Path) -> int:
    return os.open(root, os.O_RDONLY)


def _file_beside(root: Path) -> int:
    # By whatever path or link the directory is named, its lock is the same one.
    real = root.resolve()
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.open(real.with_name(f".{real.name}.lock"), flags, 0o666)
