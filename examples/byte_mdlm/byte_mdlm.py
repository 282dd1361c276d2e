"""The byte language model in plain numpy: forward pass, held-out bits per byte, generation.

Tokens are the bytes 0..255 and the mask, 256; a window holds at most 128 of them.

    model = ByteMdlm.load()
    print(bits_per_byte(model), "against", unigram_bits_per_byte())
    print(generate(model, b"def main():").decode(errors="replace"))
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from examples.safetensors_numpy import Array, read_folder

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
HELD_OUT = HERE / "heldout.txt"
LENGTH = 128


class ByteMdlm:
    """A LLaDA-like transformer (arXiv:2502.09992) that predicts masked bytes from both sides."""

    def __init__(
        self, tensors: Mapping[str, ArrayLike], config: Mapping[str, Any] | None = None
    ) -> None:
        """Take weights by name, e.g. dequantized ones; `config` is the shipped one by default."""
        self.tensors = {name: np.asarray(tensors[name], dtype=np.float32) for name in tensors}
        self.config = dict(config or read_config(MODEL))

    @classmethod
    def load(cls, folder: Path = MODEL) -> ByteMdlm:
        """Read a transformers model folder, in one file or sharded."""
        return cls(read_folder(folder), read_config(folder))

    def linear(self, name: str, x: Array) -> Array:
        """Apply the linear layer `name` to the last axis of `x`."""
        flat: Array = x.reshape(-1, x.shape[-1]) @ self.tensors[f"{name}.weight"].T
        return flat.reshape(*x.shape[:-1], -1)

    def norm(self, name: str, x: Array) -> Array:
        """Apply the RMSNorm `name` (arXiv:1910.07467)."""
        power = np.square(x).mean(axis=-1, keepdims=True)
        scale = np.sqrt(power + np.float32(self.config["rms_norm_eps"]))
        out: Array = x / scale * self.tensors[f"{name}.weight"]
        return out

    def forward(self, tokens: NDArray[np.int64]) -> Array:
        """Return the logits (n, length, 256) of the bytes behind `tokens` (n, length)."""
        x: Array = self.tensors["model.embed_tokens.weight"][tokens]
        for i in range(self.config["num_hidden_layers"]):
            layer = f"model.layers.{i}"
            normed = self.norm(f"{layer}.input_layernorm", x)
            x = x + self.attention(f"{layer}.self_attn", normed)
            normed = self.norm(f"{layer}.post_attention_layernorm", x)
            gate = self.linear(f"{layer}.mlp.gate_proj", normed)
            inner = gate * (0.5 + 0.5 * np.tanh(0.5 * gate))  # SiLU
            inner *= self.linear(f"{layer}.mlp.up_proj", normed)
            x = x + self.linear(f"{layer}.mlp.down_proj", inner)
        return self.linear("lm_head", self.norm("model.norm", x))[..., :256]

    def attention(self, name: str, x: Array) -> Array:
        """Return bidirectional self-attention with rotary positions over `x` (n, length, d)."""
        n, length, _ = x.shape
        heads = self.config["num_attention_heads"]
        q, k, v = (
            self.linear(f"{name}.{part}_proj", x).reshape(n, length, heads, -1).swapaxes(1, 2)
            for part in "qkv"
        )
        cos, sin = rotary(length, q.shape[-1], self.config["rope_theta"])
        q, k = (y * cos + rotate_half(y) * sin for y in (q, k))
        scores = q @ k.swapaxes(2, 3) / math.sqrt(q.shape[-1])
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (powers / powers.sum(axis=-1, keepdims=True)) @ v
        return self.linear(f"{name}.o_proj", mixed.swapaxes(1, 2).reshape(x.shape))


def bits_per_byte(
    model: ByteMdlm, text: bytes | None = None, windows: int | None = None, seed: int = 0
) -> float:
    """Return an upper bound on the bits that the model spends per byte of `text`.

    That is the negative evidence lower bound, in the form of LLaDA's eq. 14: mask a number of bytes
    drawn from 1..128, and average the cross-entropy of those masked. The draws depend on `seed` and
    the text alone, so that the figures of two models are paired. `text` is the held-out text by
    default; `windows` takes that many of its windows of 128 bytes, evenly spread, instead of all.
    """
    data = np.frombuffer(HELD_OUT.read_bytes() if text is None else text, np.uint8).astype(np.int64)
    rows = data[: len(data) // LENGTH * LENGTH].reshape(-1, LENGTH)
    if windows is not None:
        rows = rows[np.linspace(0, len(rows) - 1, min(windows, len(rows))).astype(int)]
    rng = np.random.default_rng(seed)
    n = len(rows)
    counts = 1 + ((rng.permutation(n) + rng.random(n)) / n * LENGTH).astype(int)  # stratified
    ranks = rng.random(rows.shape).argsort(axis=1).argsort(axis=1)
    masked = ranks < counts[:, None]
    inputs = np.where(masked, model.config["mask_token_id"], rows)
    total = 0.0
    for start in range(0, n, 16):
        part = slice(start, start + 16)
        losses = cross_entropy(model.forward(inputs[part]), rows[part])
        total += float((losses * masked[part] / counts[part, None]).sum())
    return total / n / math.log(2)


def unigram_bits_per_byte(text: bytes | None = None) -> float:
    """Return the entropy of the text's own byte frequencies, below which no unigram model gets."""
    data = np.frombuffer(HELD_OUT.read_bytes() if text is None else text, np.uint8)
    counts = np.bincount(data)
    shares = counts[counts > 0] / len(data)
    return float(-(shares * np.log2(shares)).sum())


def generate(
    model: ByteMdlm,
    prompt: bytes = b"",
    length: int = LENGTH,
    block: int = 16,
    temperature: float = 0.9,
    seed: int = 0,
) -> bytes:
    """Continue `prompt` to `length` (up to 128) bytes by unmasking one byte at a time.

    As LLaDA's semi-autoregressive sampling: of the first `block` masked positions, the one whose
    byte the model is surest of is filled, with a byte drawn at `temperature` (0: the likeliest).
    """
    rng = np.random.default_rng(seed)
    mask = model.config["mask_token_id"]
    tokens = np.full(length, mask, dtype=np.int64)
    tokens[: len(prompt)] = np.frombuffer(prompt, np.uint8)
    while (masked := np.flatnonzero(tokens == mask)[:block]).size:
        logits = model.forward(tokens[None])[0, masked]
        surest = np.argmin(cross_entropy(logits, logits.argmax(axis=-1)))
        gumbel = temperature * rng.gumbel(size=256)
        tokens[masked[surest]] = np.argmax(logits[surest] + gumbel)
    return tokens.astype(np.uint8).tobytes()


def cross_entropy(logits: Array, targets: NDArray[np.int64]) -> Array:
    """Return -log softmax(logits)[target] in nats, over the last axis of `logits`."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    loss: Array = np.log(np.exp(shifted).sum(axis=-1)) - picked
    return loss


@functools.cache
def rotary(length: int, size: int, theta: float) -> tuple[Array, Array]:
    """Return cosines and sines (length, size) of rotary positions (arXiv:2104.09864)."""
    angles = np.outer(np.arange(length), theta ** -(np.arange(0, size, 2) / size))
    angles = np.concatenate([angles, angles], axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate_half(x: Array) -> Array:
    """Return (-b, a) for x = (a, b), the halves of the last axis."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([-b, a], axis=-1)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the model's config.json."""
    return dict(json.loads((folder / "config.json").read_text()))
