"""The byte language model as a torch module, whose parameters have the names of the files.

It is what train.py trained, and computes what byte_mdlm.py computes in numpy. Calibration watches
it, and quantized weights run in it:

    model = arrow_quant_v2.torch.load_model(ByteMdlm(), "byte-mdlm-int4").eval()
"""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return, no-untyped-call, misc"

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.byte_mdlm.byte_mdlm import LENGTH, MODEL
from examples.safetensors_numpy import read_folder

MASK = 256
CONFIG = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "hidden_act": "silu",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "vocab_size": 264,
    "mask_token_id": MASK,
    "torch_dtype": "bfloat16",
}
WIDTH = 256


class Attention(nn.Module):
    """Bidirectional attention of 4 heads with rotary positions (rotate-half, as in LLaMA)."""

    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        angle = torch.outer(torch.arange(LENGTH), 10000.0 ** -(torch.arange(0, 64, 2) / 64))
        self.register_buffer("cos", torch.cat([angle.cos()] * 2, 1), persistent=False)
        self.register_buffer("sin", torch.cat([angle.sin()] * 2, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.view(*y.shape[:2], 4, 64).transpose(1, 2)

        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]

        def rotate(y: Tensor) -> Tensor:
            return y * cos + torch.cat([-y[..., 32:], y[..., :32]], -1) * sin

        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        q, k = rotate(q).to(v.dtype), rotate(k).to(v.dtype)
        mixed: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        out: Tensor = self.o_proj(mixed)
        return out


class Mlp(nn.Module):
    """The SwiGLU feed-forward network (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, 512, bias=False)
        self.up_proj = nn.Linear(WIDTH, 512, bias=False)
        self.down_proj = nn.Linear(512, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(WIDTH, eps=1e-5)
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, eps=1e-5)
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    """Embedding, blocks and final norm, under the names that LLaMA's checkpoints use."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(264, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(4))
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out


class ByteMdlm(nn.Module):
    """Maps tokens (batch, up to 128), where 256 is the mask, to logits (batch, length, 264)."""

    def __init__(self) -> None:
        super().__init__()
        self.config = CONFIG
        self.model = Trunk()
        self.lm_head = nn.Linear(WIDTH, 264, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.007 if into_residual else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.lm_head(self.model(tokens))
        return out


def load(folder: Path = MODEL) -> ByteMdlm:
    """Return the model of a folder, the shipped one by default, in float32."""
    model = ByteMdlm()
    model.load_state_dict({name: torch.tensor(v) for name, v in read_folder(folder).items()})
    return model.eval()
