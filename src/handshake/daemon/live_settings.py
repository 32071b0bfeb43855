"""The configuration of a daemon that lives for days: taken over when its files change. Contract: `interface.md`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from handshake.domain.errors import ConfigError, NotTrusted
from handshake.domain.settings import Settings


class LiveSettings:
    """Reads the configuration again when one of its files changed, and as long as it cannot be used.

    Args:
        files: the repository's and the user's; they need not be there.
        read: merges and checks them.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], Settings]) -> None:
        self._files = tuple(files)
        self._read = read
        self._stamps = self._now()
        self.trouble: str | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where changes are to be watched for; those that are there."""
        return tuple(place.parent for place in self._files if place.parent.is_dir())

    def changed(self) -> Settings | None:
        """The settings, if the files changed since the last call; None where they cannot be used: see `trouble`."""
        stamps = self._now()
        if stamps == self._stamps and self.trouble is None:
            return None
        self._stamps = stamps
        try:
            settings = self._read()
        except (ConfigError, NotTrusted) as error:
            self.trouble = error.line()
            return None
        self.trouble = None
        return settings

    def _now(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(place) for place in self._files)


def _stamp(place: Path) -> tuple[int, int] | None:
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
