"""A wait in the kernel that ends when a file changes or somebody rings. Contract: `interface.md`: idle at no CPU.

watchfiles looks at what its threads gathered every few milliseconds, also while nothing happens: 0.1 % of a processor
for as long as the daemon lives. On Linux an inotify descriptor beside it tells when there is something to ask it for.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from collections.abc import Sequence
from pathlib import Path


class Doorbell:
    """Sleeps until rung, or until something changes below the folders it hangs at; else until the time is up."""

    def __init__(self) -> None:
        self._ears = _Ears() if sys.platform == "linux" else None
        # a pair of sockets and no pipe: Windows can wait for nothing else
        self._listens, self._button = socket.socketpair()
        self._listens.setblocking(False)
        self._button.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listens, selectors.EVENT_READ)

    def hang(self, places: Sequence[Path]) -> bool:
        """Listen to changes below these folders from now on, and nowhere else; whether it does."""
        if self._ears is None:
            return False
        if self._ears.descriptor is not None:
            self._selector.unregister(self._ears.descriptor)
        self._ears.open(places)
        if self._ears.descriptor is not None:
            self._selector.register(self._ears.descriptor, selectors.EVENT_READ)
            return True
        return False

    def wait(self, seconds: float) -> bool:
        """Sleep; whether something changed or somebody rang before the time was up."""
        found = self._selector.select(max(seconds, 0.0))
        for key, _ in found:
            if key.fileobj is self._listens:
                self._listens.recv(4096)
            elif self._ears is not None:
                self._ears.take()
        return bool(found)

    def ring(self) -> None:
        """End the wait, or the next one. From any thread, and from a signal's handler."""
        try:
            self._button.send(b"!")
        except OSError:
            return  # it was rung so often that nobody can have missed it, or it was taken down

    def close(self) -> None:
        """Take it down."""
        self._selector.close()
        for part in (self._listens, self._button, self._ears):
            if part is not None:
                part.close()


class _Ears:
    """Inotify over folders and all below them. It says that something changed; watchfiles says what."""

    def __init__(self) -> None:
        from inotify_simple import INotify, flags

        self._make, self._flags = INotify, flags
        self._mask = (
            flags.CREATE | flags.DELETE | flags.MODIFY | flags.MOVED_FROM | flags.MOVED_TO | flags.ATTRIB
        ) | flags.ONLYDIR
        self._inotify: INotify | None = None
        self._places: tuple[Path, ...] = ()

    @property
    def descriptor(self) -> int | None:
        """What becomes readable."""
        return None if self._inotify is None else self._inotify.fileno()

    def open(self, places: Sequence[Path]) -> None:
        """Listen to these; to nothing where there are none, or the system gives no more watches."""
        self.close()
        self._places = tuple(places)
        try:
            if places:
                self._inotify = self._make(nonblocking=True)
                self._listen()
        except OSError:
            self.close()

    def take(self) -> None:
        """Forget what was heard; a folder that is new is listened to as well."""
        assert self._inotify is not None
        added = self._flags.CREATE | self._flags.MOVED_TO
        heard = self._inotify.read(timeout=0)
        if any(event.mask & self._flags.ISDIR and event.mask & added for event in heard):
            try:
                self._listen()
            except OSError:
                return  # what it cannot listen to any more, the rescan finds

    def _listen(self) -> None:
        assert self._inotify is not None
        for place in self._places:
            # a folder is added before it is read, so that one made meanwhile is heard
            for folder, _, _ in os.walk(place):
                try:
                    self._inotify.add_watch(folder, self._mask)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # it went away again

    def close(self) -> None:
        """Give the watches back."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
