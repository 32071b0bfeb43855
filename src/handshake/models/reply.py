"""A model's reply read as data: edits and one closing signal. Contract: `models.md`, The reply.

Text goes in, records come out: nothing here executes, imports or formats with what a model wrote.
"""

from __future__ import annotations

from handshake.domain.reply import ParsedReply
from handshake.models.reply_edits import read_edits
from handshake.models.reply_signal import read_signal
from handshake.models.reply_text import split_reply


def parse_reply(text: str, *, mt_id: str, writable: tuple[str, ...], single_file_fence: bool = False) -> ParsedReply:
    """Read a reply. Never raises, whatever the text.

    Args:
        text: what the model sent, reasoning included.
        mt_id: the running MT; a completion that names another makes no claim.
        writable: the paths the MT may write; only the first matters here, for `single_file_fence`.
        single_file_fence: the prompt asked plainly for one file, so a fenced block without a `FILE:`
            line, if no edit has one, is the whole content of `writable[0]`.

    Returns:
        Edits (none, if one of them could not be read: all apply or none), the signal, the reasoning.
    """
    pieces, reasoning = split_reply(text)
    edits, errors, rest = read_edits(pieces, writable[0] if single_file_fence and writable else None)
    return ParsedReply(
        edits=() if errors else edits,
        edit_errors=errors,
        signal=read_signal(rest, reasoning, mt_id),
        reasoning=reasoning,
    )
