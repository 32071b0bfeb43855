"""A real model file of a few hundred kilobytes that says what a test wants, for the real llama.cpp.

A Llama of one layer whose attention and feed-forward are zero: what comes after a token depends on that token alone.
Each piece of a recital is one token of the vocabulary, and the output matrix leads from each to the next, so sharply
that no temperature changes it. The prompt's last token, a key such as `<one>`, says which recital; anything else ends
the reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import gguf
import numpy as np

WIDTH = 128
WINDOW = 32_768
END = "</s>"
SPACE = "▁"
"""What a space is to this kind of tokenizer."""
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
_LAYER = {"attn_q": WIDTH, "attn_k": WIDTH, "attn_v": WIDTH, "attn_output": WIDTH, "ffn_gate": 32, "ffn_up": 32}


def write_model(
    path: Path, recitals: Mapping[str, str], *, rounds: Mapping[str, str] | None = None, key: str = ""
) -> Path:
    """Write the GGUF file.

    Args:
        recitals: what comes after each key. No two may share a piece; a piece is a line, or several where one says
            the same as another.
        rounds: the same without an end: after the last piece comes the first.
        key: put after every prompt, so that whatever is asked, this recital is the answer.
    """
    after: dict[str, str] = {}
    for name, text in {**recitals, **(rounds or {})}.items():
        pieces = list(_pieces(text))
        last = pieces[0] if name in (rounds or {}) else END
        for now, following in zip([name, *pieces], [*pieces, last], strict=True):
            assert now not in after, f"two recitals share {now!r}"
            after[now] = following
    words = ["<unk>", "<s>", END, *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, *after]
    sure = np.random.default_rng(1).choice(np.array([-1.0, 1.0], dtype=np.float32), (len(words), WIDTH))
    sure[: len(words) - len(after)] = sure[0]  # nothing but a key and a recital's pieces leads anywhere
    number = {word: place for place, word in enumerate(words)}
    leads = np.zeros_like(sure)
    leads[number[END]] += sure[0]
    for now, following in after.items():
        leads[number[following]] += sure[number[now]]
    _write(path, words, sure, leads, _TEMPLATE + key)
    return path


def _pieces(text: str) -> Iterator[str]:
    """Lines, each joined with what follows for as long as it says the same as one before."""
    seen: set[str] = set()
    held = ""
    for line in text.splitlines(keepends=True):
        held += line
        if held not in seen:
            seen.add(held)
            yield held
            held = ""
    assert not held, f"the last piece repeats another: {held!r}"


def _write(path: Path, words: list[str], embeddings: np.ndarray, output: np.ndarray, template: str) -> None:
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("reciting")
    out.add_context_length(WINDOW)
    out.add_embedding_length(WIDTH)
    out.add_block_count(1)
    out.add_feed_forward_length(32)
    out.add_head_count(2)
    out.add_head_count_kv(2)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // 2)
    out.add_vocab_size(len(words))
    out.add_tokenizer_model("llama")
    out.add_token_list(words)
    out.add_token_scores([0.0] * len(words))
    special, byte, ours = gguf.TokenType.CONTROL, gguf.TokenType.BYTE, gguf.TokenType.USER_DEFINED
    kinds = [gguf.TokenType.UNKNOWN, special, special, *[byte] * 256]
    out.add_token_types([*kinds, gguf.TokenType.NORMAL, *[ours] * (len(words) - len(kinds) - 1)])
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(False)
    out.add_add_space_prefix(False)
    out.add_chat_template(template)
    out.add_tensor("token_embd.weight", embeddings)
    out.add_tensor("output.weight", output)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for name in ("attn_norm", "ffn_norm"):
        out.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    for name, rows in _LAYER.items():
        out.add_tensor(f"blk.0.{name}.weight", np.zeros((rows, WIDTH), dtype=np.float32))
    out.add_tensor("blk.0.ffn_down.weight", np.zeros((WIDTH, 32), dtype=np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
