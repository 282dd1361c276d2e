"""Inputs of masked text models: texts with tokens masked as in inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from arrow_quant_v2.errors import ConfigurationError


def masked_inputs(
    tokens: Any,
    mask_token_id: int,
    *,
    samples: int = 128,
    batch: int = 8,
    visible: float = 0.25,
    seed: int = 0,
    extra: dict[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Mask texts for `collect`: each call has the masked fractions of a whole generation.

    A beginning of each text stays visible, as a prompt does. Of the rest, each token is masked with
    a probability t; t goes through the middles of as many equal parts of 0 … 1 as there are
    samples, in an order that depends on the seed.

    Parameters
    ----------
    tokens : array-like of int, [texts, length]
        Of the same length; they are repeated until there are as many as `samples`.
    mask_token_id : int
    samples, batch : int
        Sequences altogether, and in one call.
    visible : float
        The part of each text that stays visible, 0 … 1.
    seed : int
    extra : dict, optional
        Further arguments of each call.

    Yields
    ------
    dict
        ``input_ids``, a torch tensor [batch, length], and `extra`.

    Raises
    ------
    ConfigurationError
        If there are no texts, or `visible` leaves nothing to mask.
    """
    import torch

    texts = np.asarray(tokens, np.int64)
    if texts.ndim != 2 or texts.size == 0:
        raise ConfigurationError(
            f"tokens have the shape {list(texts.shape)}; give [texts, length], with at least one"
        )
    length = texts.shape[1]
    prompt = int(length * visible)
    if not 0 <= prompt < length:
        raise ConfigurationError(f"visible = {visible}: must be at least 0 and less than 1")
    rng = np.random.default_rng(seed)
    chances = (rng.permutation(samples) + 0.5) / samples
    for start in range(0, samples, batch):
        numbers = np.arange(start, min(start + batch, samples))
        masked = rng.random((len(numbers), length)) < chances[numbers, None]
        masked[:, :prompt] = False
        ids = np.where(masked, mask_token_id, texts[numbers % len(texts)])
        yield {"input_ids": torch.from_numpy(ids), **(extra or {})}


def tokenized(tokenizer: Any, texts: Sequence[str], length: int) -> Any:
    """Return the texts' tokens cut into pieces of one length, [pieces, length].

    Raises
    ------
    ConfigurationError
        If all texts together are shorter than one piece.
    """
    stream: list[int] = []
    for text in texts:
        stream += tokenizer(text, add_special_tokens=False)["input_ids"]
    length = min(length, len(stream))
    if length < 2:
        raise ConfigurationError("prompts: the texts have fewer than 2 tokens; give longer ones")
    count = len(stream) // length
    return np.array(stream[: count * length], np.int64).reshape(count, length)
