"""Train the digit DiT and the classifier that judges its samples; write both beside this file.

Data: scikit-learn's 1797 digits (8 x 8 pixels, 0..16), scaled to [-1, 1]; 15 % are held out.
Model: diffusers' own DiTTransformer2DModel, trained to predict the noise of DDPM (Ho et al. 2020,
arXiv:2006.11239) under the linear beta schedule, with 15 % of the labels replaced by the null
class for classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598). The weights shipped are
an exponential moving average, rounded to bfloat16.

Needs torch, diffusers and scikit-learn. Run from the repository's root, on one CPU core:

    python -m examples.digits_dit.train

examples/README.md holds the time this took and the figures it reached.
"""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="import-untyped, no-untyped-call, untyped-decorator"

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiTTransformer2DModel
from sklearn.datasets import load_digits
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
NULL_CLASS = 10
TRAIN_STEPS = 1000


def load_split(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (train images, train labels, held-out images, held-out labels).

    Images are float32 of shape (n, 1, 8, 8) in [-1, 1]; labels are int64 in 0..9.
    """
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(data.target, dtype=torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: round(0.15 * len(order))], order[round(0.15 * len(order)) :]
    return images[kept], labels[kept], images[held], labels[held]


def jitter(images: Tensor, strength: float) -> Tensor:
    """Rotate, scale and shift each image a little (at strength 1: 8 degrees, 6 %, 0.4 pixel)."""
    n = len(images)
    angle = torch.empty(n).uniform_(-0.14, 0.14) * strength
    scale = 1 + torch.empty(n).uniform_(-0.06, 0.06) * strength
    shift = torch.empty(n, 2).uniform_(-0.1, 0.1) * strength
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, mode="bicubic", align_corners=False).clamp(0, 2) - 1


def build_model() -> nn.Module:
    """Return the untrained DiT, its modulations and its output zero as in Peebles & Xie 2023."""
    model: Any = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=48,
        in_channels=1,
        out_channels=1,
        num_layers=4,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=NULL_CLASS,
    )
    zero = [block.norm1.linear for block in model.transformer_blocks]
    for layer in [*zero, model.proj_out_1, model.proj_out_2]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    # In training mode diffusers would drop labels in each block on its own; we drop them here.
    untrained: nn.Module = model.eval()
    return untrained


def spread_timesteps(n: int) -> Tensor:
    """Return n timesteps in 0..999, one from each n-th of the range, in random order."""
    return ((torch.randperm(n) + torch.rand(n)) / n * TRAIN_STEPS).long()


def noise_loss(
    model: nn.Module, images: Tensor, labels: Tensor, t: Tensor, alpha_bar: Tensor
) -> Tensor:
    """Return the mean squared error of the noise predicted for `images` noised to `t`."""
    noise = torch.randn_like(images)
    a = alpha_bar[t].view(-1, 1, 1, 1)
    noisy = a.sqrt() * images + (1 - a).sqrt() * noise
    with torch.autocast("cpu", torch.bfloat16):
        predicted = model(noisy, timestep=t, class_labels=labels).sample
    return F.mse_loss(predicted.float(), noise)


@torch.no_grad()
def held_out_loss(model: nn.Module, images: Tensor, labels: Tensor, alpha_bar: Tensor) -> float:
    """Return the noise loss on held-out images, with the same draws at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        losses = [
            noise_loss(model, images, labels, spread_timesteps(len(images)), alpha_bar)
            for _ in range(4)
        ]
    return float(torch.stack(losses).mean())


def save_pipeline(model: nn.Module, scheduler: Any, folder: Path) -> None:
    """Write the model, rounded to bfloat16, and its scheduler as a diffusers pipeline folder."""
    rounded: Any = copy.deepcopy(model).to(torch.bfloat16)
    rounded.save_pretrained(folder / "transformer")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "_diffusers_version": diffusers.__version__,
        "id2label": {str(digit): str(digit) for digit in range(10)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def train_dit(args: argparse.Namespace) -> None:
    """Train the DiT with the options of the command line and save its averaged weights."""
    torch.manual_seed(args.seed)
    images, labels, held_images, held_labels = load_split(args.seed)
    scheduler: Any = DDIMScheduler(num_train_timesteps=TRAIN_STEPS)
    alpha_bar = scheduler.alphas_cumprod
    model = build_model()
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=args.decay, fused=True
    )
    warmup = 200
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * min(i / args.steps, 1))),
    )
    started, recent = time.monotonic(), 0.0
    for step in range(1, args.stop + 1):
        rows = torch.randint(len(images), (args.batch,))
        clean = jitter(images[rows], args.jitter)
        y = torch.where(torch.rand(args.batch) < 0.15, NULL_CLASS, labels[rows])
        loss = noise_loss(model, clean, y, spread_timesteps(args.batch), alpha_bar)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()),
                list(model.parameters()),
                1 - min(0.999, step / (step + 10)),
            )
        recent += loss.item()
        if step % 250 == 0 or step == args.stop:
            held = held_out_loss(average, held_images, held_labels, alpha_bar)
            minutes = (time.monotonic() - started) / 60
            losses = f"train {recent / (step % 250 or 250):.4f}  held-out {held:.4f}"
            print(f"step {step:6d}  {losses}  {minutes:.1f} min", flush=True)
            recent = 0.0
            if step % 1000 == 0 or step == args.stop:
                save_pipeline(average, scheduler, args.out / "model")


def train_classifier(seed: int, path: Path) -> float:
    """Train a 64-128-10 perceptron on the training digits, save it, return held-out accuracy."""
    torch.manual_seed(seed)
    images, labels, held_images, held_labels = load_split(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    steps = 3000
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(images), (128,))
        noisy = jitter(images[rows], 1.0) + 0.1 * torch.randn(128, 1, 8, 8)
        F.cross_entropy(net(noisy), labels[rows], label_smoothing=0.05).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    names = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    weights: dict[str, Any] = {
        name: weight.detach().numpy() for name, weight in zip(names, net.parameters(), strict=True)
    }
    np.savez(path, **weights)
    with torch.no_grad():
        return float((net(held_images).argmax(1) == held_labels).float().mean())


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=9000, help="steps until the rate is 0")
    parser.add_argument("--stop", type=int, default=6000, help="steps to train, at most --steps")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay")
    parser.add_argument("--jitter", type=float, default=0.5, help="augmentation strength")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    accuracy = train_classifier(args.seed, args.out / "classifier.npz")
    print(f"classifier: {accuracy:.4f} of the held-out digits", flush=True)
    train_dit(args)


if __name__ == "__main__":
    main()
