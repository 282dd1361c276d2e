"""What an interrupted collection goes on from."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from arrow_quant_v2.calibration.collector import Collector
from arrow_quant_v2.calibration.inputs import InputRecorder
from arrow_quant_v2.calibration.model_call import ModelCall
from arrow_quant_v2.calibration.time_axis import TimeAxis
from arrow_quant_v2.calibration.trajectories import Trajectories

INTERVAL_S = 60.0
SHARE = 10.0  # a tenth of the time at most goes into checkpoints


class Checkpoint:
    """The state of a collection in its scratch folder.

    Parameters
    ----------
    scratch : Path
    settings : dict
        What must be the same for a collection to go on, as JSON.
    """

    def __init__(self, scratch: Path, settings: dict[str, Any]) -> None:
        self._scratch = scratch
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._number = 0
        self._due = time.monotonic() + INTERVAL_S

    def is_due(self) -> bool:
        """Return whether it is time for another."""
        return time.monotonic() >= self._due

    def save(
        self, collector: Collector, inputs: InputRecorder | None, progress: dict[str, Any]
    ) -> None:
        """Write the state; what was there before stays until this is whole."""
        if collector.axis is None or not collector.sharing.settled:
            return
        began = time.monotonic()
        name = f"state-{self._number + 1}"
        folder = self._scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for i, layer in enumerate(collector.layers):
            if layer.name not in collector.sharing.aliases:
                collector.data[layer.name].save(folder / f"{i}.npz")
        if inputs is not None and not inputs.problem:
            inputs.save(folder / "inputs.safetensors")
        state = {
            "folder": name,
            "settings": self._settings,
            "kind": collector.axis.kind,
            "time_name": collector.time_name,
            "bins": collector.axis.bins,
            "trajectories": collector.trajectories.state(),
            "aliases": collector.sharing.aliases,
            "calls": collector.calls,
            "warnings": collector.warnings,
            "problem": inputs.problem if inputs is not None else "",
            "last": _described(collector.last_call),
            "progress": progress,
        }
        self._write(state)
        shutil.rmtree(self._scratch / f"state-{self._number}", ignore_errors=True)
        self._number += 1
        now = time.monotonic()
        self._due = now + max(INTERVAL_S, SHARE * (now - began))

    def restore(self, collector: Collector, inputs: InputRecorder | None) -> dict[str, Any]:
        """Take the state over; return the progress that was saved with it.

        `found` has said that there is one.
        """
        state = self._read()
        folder = self._scratch / str(state["folder"])
        self._number = int(state["folder"].split("-")[1])
        collector.axis = TimeAxis(state["kind"], state["bins"])
        collector.time_name = state["time_name"]
        collector.trajectories = Trajectories(**state["trajectories"])
        collector.sharing.settled = True
        collector.sharing.aliases = state["aliases"]
        collector.calls = state["calls"]
        collector.warnings = state["warnings"]
        collector.last_call = _restored(state["last"], state["kind"])
        for i, layer in enumerate(collector.layers):
            if layer.name not in collector.sharing.aliases:
                collector.data[layer.name].restore(folder / f"{i}.npz")
        if inputs is not None:
            if state["problem"]:
                inputs.drop(state["problem"])
            else:
                inputs.restore(folder / "inputs.safetensors")
        progress: dict[str, Any] = state["progress"]
        return progress

    def found(self) -> str:
        """Return "" where there is no state, "same" where it fits, else which setting differs."""
        if not (self._scratch / "state.json").is_file():
            return ""
        theirs = self._read()["settings"]
        names = [n for n in self._settings | theirs if theirs.get(n) != self._settings.get(n)]
        return ", ".join(names) if names else "same"

    def clear(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        text = (self._scratch / "state.json").read_text(encoding="utf-8")
        state: dict[str, Any] = json.loads(text)
        return state

    def _write(self, state: dict[str, Any]) -> None:
        temporary = self._scratch / ".state.json.tmp"
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(self._scratch / "state.json")


def _described(call: ModelCall | None) -> dict[str, Any] | None:
    if call is None:
        return None
    tokens = None if call.tokens is None else call.tokens.tolist()
    return {"batch": call.batch, "time": call.time.tolist(), "tokens": tokens}


def _restored(last: dict[str, Any] | None, kind: str) -> ModelCall | None:
    if last is None:
        return None
    tokens = None if last["tokens"] is None else np.array(last["tokens"], np.int64)
    return ModelCall(last["batch"], None, kind, "", np.array(last["time"], np.float64), tokens)
