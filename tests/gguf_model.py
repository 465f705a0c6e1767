"""A GGUF model that llama.cpp really runs: the Llama architecture with one tiny layer of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

_WIDTH, _HEADS, _FEED_FORWARD, _CONTEXT = 32, 2, 64, 256
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_gguf(path: Path, seed: int = 7) -> Path:
    """Write the model, about 120 kB; equal seeds give equal bytes."""
    random = np.random.default_rng(seed)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *_LETTERS]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    kinds += [TokenType.NORMAL] * (1 + len(_LETTERS))
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.encode() for piece in pieces])
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(1 + len(_LETTERS))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.1, shape).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, np.float32))

    tensor("token_embd", len(pieces), _WIDTH)
    tensor("output", len(pieces), _WIDTH)
    norm("output_norm")
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensor(f"blk.0.{name}", _WIDTH, _WIDTH)
    tensor("blk.0.ffn_gate", _FEED_FORWARD, _WIDTH)
    tensor("blk.0.ffn_up", _FEED_FORWARD, _WIDTH)
    tensor("blk.0.ffn_down", _WIDTH, _FEED_FORWARD)
    norm("blk.0.attn_norm")
    norm("blk.0.ffn_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
