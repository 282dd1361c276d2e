"""How long a cancelled run takes to end: from the call of cancel() to the coroutine's end.

Runs on a generated bf16 model are cancelled at moments spread over their whole length, flushing to
disk included; what they leave is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import time
from pathlib import Path

from end_to_end import write_model

from arrow_quant_v2 import AsyncArrowQuantV2


async def cancelled_after(model: Path, output: Path, delay: float) -> float | None:
    """Seconds from cancel() to the end; None if the run was done before."""
    run = asyncio.ensure_future(AsyncArrowQuantV2().quantize_diffusion_model_async(model, output))
    await asyncio.wait({run}, timeout=delay)
    if run.done():
        return None
    begin = time.perf_counter()
    run.cancel()
    await asyncio.wait({run})
    elapsed = time.perf_counter() - begin
    if output.exists():
        raise SystemExit(f"{output} was left behind")
    return elapsed


def main() -> None:
    """Cancel runs and print how long they took to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tensors", type=int, default=32, help="of 32 MiB each")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    model, output = folder / "model.safetensors", folder / "output"
    gigabytes = write_model(model, arguments.tensors) / 1e9
    begin = time.perf_counter()
    asyncio.run(AsyncArrowQuantV2().quantize_diffusion_model_async(model, output))
    whole = time.perf_counter() - begin
    shutil.rmtree(output)
    taken = []
    for i in range(arguments.runs):
        elapsed = asyncio.run(cancelled_after(model, output, whole * i / arguments.runs))
        shutil.rmtree(output, ignore_errors=True)
        if elapsed is not None:
            taken.append(1000 * elapsed)
    shutil.rmtree(folder)
    print(
        f"{gigabytes:.2f} GB, {len(taken)} runs cancelled within {whole:.2f} s: "
        f"end after {statistics.median(taken):.0f} ms in the median, {max(taken):.0f} ms at most"
    )


if __name__ == "__main__":
    main()
