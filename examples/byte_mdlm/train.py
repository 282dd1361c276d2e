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

from examples.byte_mdlm.byte_mdlm import LENGTH
from examples.byte_mdlm.torch_model import CONFIG, MASK, ByteMdlm

HERE = Path(__file__).resolve().parent
HELD_OUT = ("bisect.py", "queue.py", "shlex.py", "textwrap.py")
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test"}
SKIPPED |= {"lib2to3", "turtledemo", "ensurepip", "encodings"}


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
