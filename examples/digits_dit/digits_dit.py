"""The digit DiT in plain numpy: forward pass, DDIM sampler, and a judge of the samples.

The forward pass is that of diffusers' DiTTransformer2DModel, whose tensor names the checkpoint
has. Images are float32 of shape (n, 1, 8, 8) in [-1, 1]; timesteps are integers in 0..999, 0 the
least noisy; labels are integers in 0..10, 10 being the null class of classifier-free guidance.

    model = DigitsDiT.load()
    labels = np.arange(20) % 10
    images = sample(model, labels, fixed_noise(20))
    print(accuracy(images, labels))
    write_png("digits.png", image_grid(images))  # of examples.picture
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
NULL_CLASS = 10


class DigitsDiT:
    """A DiT (Peebles & Xie 2023, arXiv:2212.09748) that predicts the noise in 8 x 8 digits."""

    def __init__(
        self, tensors: Mapping[str, ArrayLike], config: Mapping[str, Any] | None = None
    ) -> None:
        """Take weights by name, e.g. dequantized ones; `config` is the shipped one by default."""
        self.tensors = {name: np.asarray(tensors[name], dtype=np.float32) for name in tensors}
        self.config = dict(config or read_json(MODEL / "transformer" / "config.json"))
        self.width: int = self.config["num_attention_heads"] * self.config["attention_head_dim"]

    @classmethod
    def load(cls, folder: Path = MODEL) -> DigitsDiT:
        """Read a diffusers pipeline folder."""
        transformer = folder / "transformer"
        return cls(read_folder(transformer), read_json(transformer / "config.json"))

    def linear(self, name: str, x: Array) -> Array:
        """Apply the linear layer `name` to the last axis of `x`."""
        flat: Array = x.reshape(-1, x.shape[-1]) @ self.tensors[f"{name}.weight"].T
        flat += self.tensors[f"{name}.bias"]
        return flat.reshape(*x.shape[:-1], -1)

    def forward(self, x: Array, t: ArrayLike, y: ArrayLike) -> Array:
        """Return the predicted noise of `x` (n, 1, 8, 8) at timesteps `t` and labels `y`, (n,)."""
        n, channels, size, _ = x.shape
        patch = self.config["patch_size"]
        side = size // patch
        # Samples of one timestep and one label share their modulation: work it out once for each.
        pairs = np.stack(np.broadcast_arrays(t, y, np.empty(n))[:2], axis=1)
        conditions, which = np.unique(pairs, axis=0, return_inverse=True)
        which = which.reshape(-1)

        patches = x.reshape(n, channels, side, patch, side, patch).transpose(0, 2, 4, 1, 3, 5)
        kernel = self.tensors["pos_embed.proj.weight"].reshape(self.width, -1)
        hidden = patches.reshape(n, side * side, -1) @ kernel.T
        hidden += self.tensors["pos_embed.proj.bias"] + position_embedding(self.width, side)

        for i in range(self.config["num_layers"]):
            block = f"transformer_blocks.{i}"
            modulation = self.linear(f"{block}.norm1.linear", silu(self.embed(block, conditions)))
            parts = modulation[which][:, None].reshape(n, 1, 6, self.width)
            shift1, scale1, gate1, shift2, scale2, gate2 = (parts[:, :, k] for k in range(6))
            normed = layer_norm(hidden, 1e-6) * (1 + scale1) + shift1
            hidden = hidden + gate1 * self.attention(f"{block}.attn1", normed)
            normed = layer_norm(hidden, self.config["norm_eps"]) * (1 + scale2) + shift2
            inner = gelu(self.linear(f"{block}.ff.net.0.proj", normed))
            hidden = hidden + gate2 * self.linear(f"{block}.ff.net.2", inner)

        final = self.linear("proj_out_1", silu(self.embed("transformer_blocks.0", conditions)))
        shift, scale = np.split(final[which][:, None], 2, axis=2)
        out = self.linear("proj_out_2", layer_norm(hidden, 1e-6) * (1 + scale) + shift)
        tiles = out.reshape(n, side, side, patch, patch, channels).transpose(0, 5, 1, 3, 2, 4)
        noise: Array = tiles.reshape(x.shape)
        return noise

    def embed(self, block: str, conditions: NDArray[Any]) -> Array:
        """Return the embedding (k, width) of k pairs of a timestep and a label."""
        frequencies = np.exp(-math.log(10000) * np.arange(128, dtype=np.float32) / 127)
        angles = conditions[:, :1].astype(np.float32) * frequencies.astype(np.float32)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        embedder = f"{block}.norm1.emb"
        time = silu(self.linear(f"{embedder}.timestep_embedder.linear_1", waves))
        table = self.tensors[f"{embedder}.class_embedder.embedding_table.weight"]
        label: Array = table[conditions[:, 1].astype(np.int64)]
        return self.linear(f"{embedder}.timestep_embedder.linear_2", time) + label

    def attention(self, name: str, x: Array) -> Array:
        """Return multi-head self-attention over `x` (n, tokens, width)."""
        n, tokens, _ = x.shape
        heads = self.config["num_attention_heads"]
        q, k, v = (
            self.linear(f"{name}.to_{part}", x).reshape(n, tokens, heads, -1).swapaxes(1, 2)
            for part in "qkv"
        )
        weights = softmax(q @ k.swapaxes(2, 3) / math.sqrt(q.shape[-1]))
        return self.linear(f"{name}.to_out.0", (weights @ v).swapaxes(1, 2).reshape(x.shape))


def sample(
    model: DigitsDiT, labels: ArrayLike, noise: Array, steps: int = 50, guidance: float = 1.5
) -> Array:
    """Turn `noise` (n, 1, 8, 8) into digits of the given labels, deterministically.

    DDIM with eta 0 (Song et al. 2021, arXiv:2010.02502, eq. 12) over evenly spaced timesteps, with
    clipped predictions, as diffusers' DDIMScheduler has it under the shipped scheduler config; the
    noise predicted is null + guidance * (conditional - null) (arXiv:2207.12598).
    """
    scheduler = read_json(MODEL / "scheduler" / "scheduler_config.json")
    total = scheduler["num_train_timesteps"]
    betas = np.linspace(scheduler["beta_start"], scheduler["beta_end"], total, dtype=np.float32)
    alpha_bar = np.cumprod(1 - betas)
    labels = np.asarray(labels)
    both = np.concatenate([labels, np.full_like(labels, NULL_CLASS)])
    stride = total // steps
    x = noise
    for t in range((steps - 1) * stride, -1, -stride):
        conditional, null = np.split(model.forward(np.concatenate([x, x]), t, both), 2)
        predicted = null + guidance * (conditional - null)
        now = alpha_bar[t]
        then = alpha_bar[t - stride] if t >= stride else np.float32(1)
        clean = np.clip((x - np.sqrt(1 - now) * predicted) / np.sqrt(now), -1, 1)
        x = np.sqrt(then) * clean + np.sqrt(1 - then) * predicted
    return x


def fixed_noise(n: int, seed: int = 0) -> Array:
    """Return standard normal noise of shape (n, 1, 8, 8), the same for the same seed."""
    return np.random.default_rng(seed).standard_normal((n, 1, 8, 8), dtype=np.float32)


def classify(images: Array) -> NDArray[np.int64]:
    """Return the digit (0..9) that the shipped perceptron sees in each image (n, 1, 8, 8)."""
    weights = classifier_weights()
    pixels = images.reshape(len(images), -1)
    hidden = np.maximum(pixels @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    scores = hidden @ weights["output.weight"].T + weights["output.bias"]
    digits: NDArray[np.int64] = scores.argmax(axis=1)
    return digits


def accuracy(images: Array, labels: ArrayLike) -> float:
    """Return the share of images that the shipped perceptron recognizes as their label."""
    return float(np.mean(classify(images) == np.asarray(labels)))


def image_grid(images: Array, columns: int = 10, zoom: int = 6) -> NDArray[np.uint8]:
    """Lay out images (n, 1, h, w), row by row, as one greyscale picture, ink in black.

    Each pixel becomes zoom x zoom; one pixel of white surrounds each image.
    """
    n, _, height, width = images.shape
    rows = -(-n // columns)
    cells = np.full((rows * columns, height + 2, width + 2), -1, dtype=np.float32)
    cells[:n, 1:-1, 1:-1] = np.clip(images[:, 0], -1, 1)
    lined_up = cells.reshape(rows, columns, height + 2, width + 2).swapaxes(1, 2)
    sheet = lined_up.reshape(rows * (height + 2), columns * (width + 2))
    pixels: NDArray[np.uint8] = np.rint(127.5 - 127.5 * sheet).astype(np.uint8)
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


@functools.cache
def classifier_weights() -> dict[str, Array]:
    """Return the weights of the perceptron that train.py trained."""
    with np.load(HERE / "classifier.npz") as file:
        return dict(file)


@functools.cache
def position_embedding(width: int, side: int) -> Array:
    """Return the fixed sine and cosine embedding (side * side, width), columns before rows."""
    frequencies = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
    rows, columns = np.divmod(np.arange(side * side), side)
    halves = []
    for position in (columns, rows):
        angles = np.outer(position, frequencies)
        halves += [np.sin(angles), np.cos(angles)]
    return np.concatenate(halves, axis=1).astype(np.float32)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    return dict(json.loads(path.read_text()))


def layer_norm(x: Array, eps: float) -> Array:
    """Normalize the last axis to mean 0 and variance 1, without a learned scale."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    out: Array = centred / np.sqrt(variance + np.float32(eps))
    return out


def silu(x: Array) -> Array:
    """Return x * sigmoid(x)."""
    out: Array = x * (0.5 + 0.5 * np.tanh(0.5 * x))
    return out


def gelu(x: Array) -> Array:
    """Return the tanh approximation of GELU (arXiv:1606.08415)."""
    out: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
    return out


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    out: Array = powers / powers.sum(axis=-1, keepdims=True)
    return out
