"""Train the byte-level masked-diffusion language model and write it beside this file.

Data: the source files of Python's standard library as installed, a few modules held out (the text
in heldout.txt, which --refresh-heldout writes). Model: a bidirectional transformer as in LLaDA
(Nie et al. 2025, arXiv:2502.09992) with the MDLM objective (Sahoo et al. 2024, arXiv:2406.07524):
each byte is masked with probability t, and the cross-entropy of the masked bytes is weighted by
1/t. The weights shipped are an exponential moving average, rounded to bfloat16, in three shards.

Needs torch and safetensors. Run from the repository's root, on one CPU core:

    python -m examples.byte_mdlm.train

examples/README.md holds the time this took and the figures it reached.
"""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

import argparse
import copy
import json
import math
import sysconfig
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
HELD_OUT = ("bisect.py", "queue.py", "shlex.py", "textwrap.py")
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test"}
SKIPPED |= {"lib2to3", "turtledemo", "ensurepip", "encodings"}
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
WIDTH, LENGTH = 256, 128


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

        def rotate(y: Tensor) -> Tensor:
            return y * self.cos + torch.cat([-y[..., 32:], y[..., :32]], -1) * self.sin

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
    """Maps tokens (batch, 128), where 256 is the mask, to logits (batch, 128, 264)."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Trunk()
        self.lm_head = nn.Linear(WIDTH, 264, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.007 if into_residual else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.lm_head(self.model(tokens))
        return out


def load_text() -> tuple[Tensor, bytes]:
    """Return the training bytes (uint8) and the held-out text of the installed Python."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(
        path
        for path in root.rglob("*.py")
        if not SKIPPED & set(path.relative_to(root).parts)
        and not path.relative_to(root).parts[0].startswith("config-")
    )
    kept = b"".join(path.read_bytes() for path in files if path.name not in HELD_OUT)
    held = b"".join((root / name).read_bytes() for name in HELD_OUT)
    return torch.frombuffer(bytearray(kept), dtype=torch.uint8), held


def masked_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the MDLM loss of tokens (batch, 128), in nats per byte."""
    n = len(tokens)
    t = (torch.rand(1) + torch.arange(n)) / n % 1  # low-discrepancy times, as MDLM's appendix has
    t = t.clamp(min=1e-3)[torch.randperm(n), None]
    masked = torch.rand(tokens.shape) < t
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens.masked_fill(masked, MASK))
    losses = F.cross_entropy(logits[masked][:, :256].float(), tokens[masked], reduction="none")
    return (losses / t.expand(tokens.shape)[masked]).sum() / tokens.numel()


@torch.no_grad()
def held_out_bits(model: nn.Module, text: bytes) -> float:
    """Return the held-out bound in bits per byte, with the same draws at each call."""
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    rows = data[: len(data) // LENGTH * LENGTH].view(-1, LENGTH)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return float(masked_loss(model, rows)) / math.log(2)


def save_model(model: nn.Module, folder: Path) -> None:
    """Write config.json and three bfloat16 shards with their index, as transformers does."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in model.named_parameters()}
    sizes = {name: tensor.numel() * 2 for name, tensor in tensors.items()}
    total = sum(sizes.values())
    shards: list[dict[str, Tensor]] = [{}, {}, {}]
    seen = 0
    for name, tensor in tensors.items():
        shards[min(3 * seen // total, 2)][name] = tensor
        seen += sizes[name]
    weight_map = {}
    for i, shard in enumerate(shards, start=1):
        file = f"model-{i:05d}-of-00003.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def train(args: argparse.Namespace) -> None:
    """Train with the options of the command line and save the averaged weights."""
    torch.manual_seed(args.seed)
    data, held = load_text()
    print(f"{len(data)} training bytes, {len(held)} held out", flush=True)
    if (HERE / "heldout.txt").exists():
        held = (HERE / "heldout.txt").read_bytes()
    model = ByteMdlm()
    average = copy.deepcopy(model)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "layers" in n]
    others = [p for n, p in model.named_parameters() if p.dim() == 1 or "layers" not in n]
    optimizers = [
        torch.optim.Muon(
            matrices, lr=args.rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", ns_steps=5
        ),
        torch.optim.AdamW(others, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    warmup = 200
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda i: min((i + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * min(i / args.steps, 1))),
        )
        for optimizer in optimizers
    ]
    started, recent = time.monotonic(), 0.0
    window = torch.arange(LENGTH)
    for step in range(1, args.stop + 1):
        starts = torch.randint(len(data) - LENGTH, (args.batch, 1))
        loss = masked_loss(model, data[starts + window].long())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()),
                list(model.parameters()),
                1 - min(0.995, step / (step + 10)),
            )
        recent += loss.item()
        if step % 250 == 0 or step == args.stop:
            bits = held_out_bits(average, held)
            minutes = (time.monotonic() - started) / 60
            mean = recent / (step % 250 or 250) / math.log(2)
            losses = f"train {mean:.3f}  held-out {bits:.3f} bits per byte"
            print(f"step {step:6d}  {losses}  {minutes:.1f} min", flush=True)
            recent = 0.0
            if step % 1000 == 0 or step == args.stop:
                save_model(average, args.out)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5500, help="steps until the rate is 0")
    parser.add_argument("--stop", type=int, default=3000, help="steps to train, at most --steps")
    parser.add_argument("--batch", type=int, default=32, help="windows of 128 bytes a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="folder to write into")
    parser.add_argument("--refresh-heldout", action="store_true", help="only write heldout.txt")
    args = parser.parse_args()
    if args.refresh_heldout:
        (HERE / "heldout.txt").write_bytes(load_text()[1])
        return
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
