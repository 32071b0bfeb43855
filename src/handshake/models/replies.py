"""Replies by content key, durable before they are used. Contract: `models.md`: a reply is never paid for twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import ValidationError

from handshake.config.failpoints import failpoint
from handshake.domain.errors import StateCorruption
from handshake.domain.modelcall import ModelReply
from handshake.repo.atomic import write_durably

_KEY = re.compile(r"[0-9a-f]{64}")


class ReplyStore:
    """One file for each reply: `<directory>/<content key>.json`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, content_key: str) -> ModelReply | None:
        """The stored reply of that key, or None.

        Raises:
            StateCorruption: the file is there and is not that reply.
        """
        path = self._path(content_key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            reply = ModelReply.model_validate_json(data)
        except ValidationError:
            reply = None
        if reply is None or reply.content_key != content_key:
            raise StateCorruption(
                f"{path}: not the stored reply of its name",
                next_step=f"move {path.name} away to ask the model again",
            )
        return reply

    def put(self, reply: ModelReply) -> None:
        """Store a reply so that it survives a power cut. Storing it again changes nothing."""
        failpoint("reply.store:before")
        # not the canonical form: that normalises text, and a reply is kept letter for letter
        text = json.dumps(
            reply.model_dump(mode="json", exclude_none=True), ensure_ascii=False, sort_keys=True, indent=1
        )
        # as the model wrote it, secrets and all: for its owner alone, as verbatim prompts are
        write_durably(self._path(reply.content_key), text.encode("utf-8") + b"\n", mode=0o600)
        failpoint("reply.store:after")

    def _path(self, content_key: str) -> Path:
        if not _KEY.fullmatch(content_key):
            raise StateCorruption(
                f"{content_key!r} is not a content key",
                next_step="run the packet again: it goes on from its last commit",
            )
        return self.directory / f"{content_key}.json"
