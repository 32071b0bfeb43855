"""Reading one streamed answer: bounded, watched for stalls and runaways, collected per sample. Contract: `models.md`.

httpx fixes its read timeout when a request starts, and a server's keep-alive lines reset it: neither a
deadline nor a stall can be told by it. So a thread watches the clock and shuts the socket.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from handshake.domain.modelcall import Sample, TokenUsage
from handshake.models.provider import OnText, estimate_tokens
from handshake.models.runaway import RunawayWatch
from handshake.models.wire import BadPayload, Delta, Wire

MAX_BYTES = 16 * 1024 * 1024
_MAX_LINE = 4 * 1024 * 1024

CutReason = Literal["time", "stall", "repeats", "size"]


class Watchdog:
    """Shuts `connection` when `total_s` is over or, once text flows, when none came for `stall_s`."""

    def __init__(self, connection: socket.socket | None, total_s: float, stall_s: float) -> None:
        self.fired: CutReason | None = None
        self._connection = connection
        self._stall_s = stall_s
        self._deadline = time.monotonic() + total_s
        self._last_text: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reply-watch", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._connection is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._over.set()
        if self._connection is not None:
            self._thread.join()

    def text_came(self) -> None:
        """Text arrived just now."""
        self._last_text = time.monotonic()

    def _watch(self) -> None:
        while True:
            now = time.monotonic()
            stalls_at = self._last_text + self._stall_s if self._last_text is not None else self._deadline
            if now >= min(self._deadline, stalls_at):
                self.fired = "time" if now >= self._deadline else "stall"
                _shut(self._connection)
                return
            # woken now and then, for the first text starts the count of the stall
            if self._over.wait(min(self._deadline - now, stalls_at - now, self._stall_s / 4)):
                return


def _shut(connection: socket.socket | None) -> None:
    if connection is None:
        return
    try:
        # the plain socket's method: TLS must not be asked while another thread reads from it
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already: that is what was wanted


@dataclass
class _Growing:
    watch: RunawayWatch
    parts: list[str] = field(default_factory=list)
    thinking: bool = False
    finish: str | None = None
    cut: CutReason | None = None

    def add(self, delta: Delta) -> str:
        """Take a delta; the text it adds, reasoning inside `<think>` tags."""
        piece = ""
        if delta.reasoning:
            piece += delta.reasoning if self.thinking else "<think>" + delta.reasoning
            self.thinking = True
        if (delta.text or delta.finish) and self.thinking:
            piece += "</think>\n"
            self.thinking = False
        piece += delta.text
        if piece:
            self.parts.append(piece)
        return piece


class ReplyCollector:
    """Gathers deltas into samples and usage; says when nothing more is worth reading."""

    def __init__(self, count: int, max_output_tokens: int, on_text: OnText | None) -> None:
        self._growing = [_Growing(RunawayWatch(max_output_tokens)) for _ in range(count)]
        self._on_text = on_text
        self._alone: list[tuple[int, int]] = []
        self._total: tuple[int, int] | None = None
        self.ended = False

    def take(self, delta: Delta) -> bool:
        """Take one delta; True if it brought text."""
        self.ended = self.ended or delta.ends
        if delta.usage is not None:
            if delta.usage_is_total:
                self._total = delta.usage
            else:
                self._alone.append(delta.usage)
        if delta.index >= len(self._growing):
            return False  # a sample that was not asked for
        sample = self._growing[delta.index]
        if sample.cut is not None:
            return False
        piece = sample.add(delta)
        if piece:
            sample.cut = sample.watch.feed(piece)
            if self._on_text is not None and delta.index == 0:
                self._on_text(piece)
        sample.finish = delta.finish or sample.finish
        return bool(piece)

    def cut_open(self, reason: CutReason) -> None:
        """End every sample that the server has not ended."""
        for sample in self._growing:
            if sample.finish is None and sample.cut is None:
                sample.cut = reason

    @property
    def has_text(self) -> bool:
        """Whether any sample has text."""
        return any(sample.parts for sample in self._growing)

    @property
    def all_cut(self) -> bool:
        """Whether reading on would bring nothing: every sample is cut or finished, and one is cut."""
        return self.all_over and any(sample.cut is not None for sample in self._growing)

    @property
    def all_over(self) -> bool:
        """Whether every sample that was asked for has its end, whatever the connection did after."""
        return all(sample.cut is not None or sample.finish is not None for sample in self._growing)

    @property
    def unfinished(self) -> bool:
        """Whether a sample that has begun has no end, or none has begun at all."""
        begun = [sample for sample in self._growing if sample.parts or sample.finish or sample.cut]
        if self.ended and begun:
            return False
        return not begun or any(sample.finish is None and sample.cut is None for sample in begun)

    def samples(self) -> tuple[Sample, ...]:
        """The samples that have begun, in the order of their index."""
        return tuple(_sample(growing) for growing in self._growing if growing.parts or growing.finish or growing.cut)

    def usage(self, prompt: str) -> TokenUsage:
        """The server's figures, or the estimate, marked so."""
        if self._total is not None:
            spent_in, spent_out = self._total
        elif self._alone:
            # llama.cpp tells each sample's usage by itself; the prompt is read once for all of them
            spent_in, spent_out = self._alone[-1][0], sum(pair[1] for pair in self._alone)
        else:
            spent_in = spent_out = 0
        estimated = not spent_in or (not spent_out and self.has_text) or any(sample.cut for sample in self._growing)
        if estimated:
            said = sum(estimate_tokens("".join(sample.parts)) for sample in self._growing)
            spent_in, spent_out = spent_in or estimate_tokens(prompt), max(spent_out, said)
        return TokenUsage(
            prompt_tokens=spent_in,
            completion_tokens=spent_out,
            total_tokens=spent_in + spent_out,
            estimated=bool(estimated),
        )


def _sample(growing: _Growing) -> Sample:
    text = "".join(growing.parts) + ("</think>\n" if growing.thinking else "")
    if growing.cut is not None:
        return Sample(text=text, finish_reason="cut", cut_reason=growing.cut)
    if growing.finish in ("length", "max_tokens"):
        return Sample(text=text, finish_reason="length")
    if growing.finish in ("content_filter", "error"):
        return Sample(text=text, finish_reason="error")
    return Sample(text=text)


def read_stream(chunks: Iterable[bytes], wire: Wire, collector: ReplyCollector, watchdog: Watchdog) -> None:
    """Feed the lines of `chunks` to the collector until the answer ends or is cut.

    Raises:
        BadPayload: a line is not what the dialect says.
    """
    for line in _lines(chunks, collector):
        for delta in wire.line(line):
            if collector.take(delta):
                watchdog.text_came()
        if collector.ended or collector.all_cut:
            return


def _lines(chunks: Iterable[bytes], collector: ReplyCollector) -> Iterator[str]:
    held = b""
    read = 0
    for chunk in chunks:
        read += len(chunk)
        held += chunk
        *whole, held = held.split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")
        if read > MAX_BYTES or len(held) > _MAX_LINE:
            collector.cut_open("size")
            return
    if held:
        yield held.decode("utf-8", "replace").rstrip("\r")


def read_whole(chunks: Iterable[bytes]) -> Any:
    """The JSON value of an answer in one piece.

    Raises:
        BadPayload: too large, or not JSON.
    """
    import json

    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_BYTES:
            raise BadPayload(f"the answer is larger than {MAX_BYTES // (1024 * 1024)} MiB")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadPayload("the answer is not JSON") from None
