"""The child process that serves a GGUF file on loopback; started by `handshake.models.embedded`."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from handshake.models.children import announce, child_settings

_PROMPT_CACHE_MIB = 256
_BATCH_TOKENS = 512


def serve(settings: dict[str, Any], ready: Path) -> None:
    """Load `settings["file"]`, announce the address, and serve until the parent is gone."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["file"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the system chooses a free one
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["samples"]
    # one pool for all samples: they share the prompt, and each may use the whole window
    params.kv_unified = True
    params.n_ctx = settings["context_window"] + (settings["samples"] - 1) * settings["max_output_tokens"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    # the others' replies stand still while one batch of a prompt is read
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    server = xllamacpp.Server(params)
    announce(ready, server.listening_address)
    threading.Event().wait()


def main(arguments: list[str]) -> int:
    """The entry point."""
    if len(arguments) != 2 or arguments[0] != "--child":
        print("started by Handshake itself, with --child READY_FILE", file=sys.stderr)  # noqa: T201
        return 2
    settings = child_settings(Path(arguments[1]))
    try:
        serve(settings, Path(arguments[1]))
    except (RuntimeError, ImportError, OSError, KeyError) as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)  # the runtime's threads may not let go
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
