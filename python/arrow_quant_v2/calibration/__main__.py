"""python -m arrow_quant_v2.calibration: what `arrow-quant calibrate` runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from arrow_quant_v2.calibration.loading import collect_from_folder
from arrow_quant_v2.calibration.prompts import read_prompts
from arrow_quant_v2.errors import ArrowQuantError, ConfigurationError

OK, FAILED, WRONG_USAGE, STOPPED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message}\nsee {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse arguments, collect, and print the result.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        The exit code: 0 ok, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in given
    try:
        parsed = _parser().parse_args(given)
        result = _collect(parsed)
    except KeyboardInterrupt:
        text = "stopped; the same command takes the collection up again"
        return _fail(STOPPED, as_json, "Cancelled", text)
    except ConfigurationError as error:
        return _fail(WRONG_USAGE, as_json, "Configuration", str(error))
    except ArrowQuantError as error:
        code = error.code or type(error).__name__.removesuffix("Error")
        return _fail(FAILED, as_json, code, str(error))
    except ImportError as error:
        return _fail(FAILED, as_json, "MissingPackage", str(error))
    except Exception as error:  # of the model's own code, or the operating system
        return _fail(FAILED, as_json, "Internal", f"{type(error).__name__}: {error}")
    for warning in result["warnings"]:
        _complain(f"warning: {warning}")
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    elif not parsed.quiet:
        print(_report(result))
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("arrow-quant calibrate", description="Collect calibration data of a model.")
    add = parser.add_argument
    add("model", type=Path, help="folder of a diffusers pipeline or of a transformers model")
    add("--out", type=Path, required=True, help="the file to write")
    add("--steps", type=int, default=50, help="sampling steps")
    add("--samples", type=int, default=128, help="trajectories")
    add("--prompts", type=Path, help="file of prompts, classes or texts: one per line, or JSON")
    add("--seed", type=int, default=0, help="of the noise, and of which rows are stored")
    add("--no-hessian", action="store_true", help="leave XᵀX out")
    add("--json", action="store_true", help="print one JSON object on standard output")
    add("-q", "--quiet", action="store_true", help="print no progress and no summary")
    return parser


def _collect(parsed: argparse.Namespace) -> dict[str, Any]:
    progress, finish = _progress(parsed.quiet)
    try:
        return collect_from_folder(
            parsed.model,
            out=parsed.out,
            steps=parsed.steps,
            samples=parsed.samples,
            prompts=read_prompts(parsed.prompts) if parsed.prompts else None,
            seed=parsed.seed,
            hessian=not parsed.no_hessian,
            progress_callback=progress,
        )
    finally:
        finish()


def _progress(quiet: bool) -> tuple[Callable[[str, float], None], Callable[[], None]]:
    """Return what shows progress on standard error, and what ends it."""
    terminal = sys.stderr.isatty()
    shown = False

    def progress(message: str, fraction: float) -> None:
        nonlocal shown
        if quiet:
            return
        shown = True
        line = f"{fraction:4.0%} {message}"
        print(
            f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr
        )
        sys.stderr.flush()

    def finish() -> None:
        if shown and terminal:
            print(file=sys.stderr)

    return progress, finish


def _report(result: dict[str, Any]) -> str:
    own = result["num_layers"] - result["num_aliases"]
    return "\n".join(
        [
            f"{result['path']}: {result['file_bytes'] / 1e6:.1f} MB",
            f"  {result['num_layers']} layers with {own} different inputs, {result['num_steps']} "
            f"steps, {result['num_trajectories']} trajectories, {result['num_calls']} calls",
            f"  log-SNR: {result['schedule']}",
        ]
    )


def _fail(exit_code: int, as_json: bool, code: str, message: str) -> int:
    _complain(message)
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False))
    return exit_code


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"arrow-quant: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
