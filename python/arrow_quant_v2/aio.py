"""AsyncArrowQuantV2: the same work as coroutines, which an event loop can wait for and cancel."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from arrow_quant_v2 import _core
from arrow_quant_v2._core import CancelToken, DiffusionQuantConfig
from arrow_quant_v2.errors import ArrowQuantError, ConfigurationError
from arrow_quant_v2.runs import ProgressCallback, Runs, StrPath

AsyncProgressCallback = Callable[[str, float], Awaitable[object] | object]
ModelProgressCallback = Callable[[int, str, float], Awaitable[object] | object]
ModelSpec = tuple[StrPath, StrPath, DiffusionQuantConfig | None]


class AsyncArrowQuantV2:
    """Quantizes and validates without blocking the event loop.

    Cancelling a coroutine (or a time-out around it) stops its work within a tenth of a second and
    leaves no partial output. Progress callbacks, plain functions or coroutine functions, are called
    on the event loop, one after the other; what one raises stops the work and comes out unchanged.

    Parameters
    ----------
    mode : str, optional
        As in `ArrowQuantV2`.

    Examples
    --------
    >>> import asyncio
    >>> from arrow_quant_v2 import AsyncArrowQuantV2
    >>> quantizer = AsyncArrowQuantV2()
    >>> result = asyncio.run(quantizer.quantize_diffusion_model_async("model", "model-int4"))
    >>> result["bit_width"]
    4
    """

    def __init__(self, mode: str | None = None) -> None:
        self._runs = Runs(mode)

    @property
    def mode(self) -> str:
        """What kind of model is quantized, where a config says nothing else."""
        return self._runs.mode

    def __repr__(self) -> str:
        return f"AsyncArrowQuantV2(mode={self.mode!r})"

    async def quantize_diffusion_model_async(
        self,
        model_path: StrPath,
        output_path: StrPath,
        config: DiffusionQuantConfig | None = None,
        progress_callback: AsyncProgressCallback | None = None,
        *,
        model: Any = None,
        inputs: Iterable[Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Quantize a model; see `ArrowQuantV2.quantize_diffusion_model`.

        Parameters
        ----------
        model_path, output_path, config
            As there.
        progress_callback : callable, optional
            Called on the event loop as ``progress_callback(message, fraction)``, and awaited if it
            returns an awaitable.
        model, inputs
            As there. The model is called, and the inputs are gone through, in a thread beside the
            event loop: let nothing else use them before this is done. Settings of a thread that
            hold around the call, such as torch.autocast, do not hold there. Cancelling waits for
            the call of the model that is under way; files that are being written are given up.

        Returns
        -------
        dict
            As there.
        """
        return await _unwrapped(
            _run(
                lambda progress, cancel: self._runs.quantize(
                    model_path, output_path, config, progress, cancel, model=model, inputs=inputs
                ),
                progress_callback,
            )
        )

    async def validate_quality_async(
        self,
        original_path: StrPath,
        quantized_path: StrPath,
        progress_callback: AsyncProgressCallback | None = None,
        *,
        model: Any = None,
        inputs: Iterable[Mapping[str, Any]] | None = None,
        calibration: StrPath | None = None,
        scheduler: Any = None,
        sampler: Callable[[Any], Any] | None = None,
    ) -> dict[str, Any]:
        """Measure a quantized model against its original; see `ArrowQuantV2.validate_quality`.

        Parameters
        ----------
        original_path, quantized_path
            As there.
        progress_callback
            As in `quantize_diffusion_model_async`.
        model, inputs, calibration, scheduler, sampler
            As there. All that runs the model, `sampler` included, does so in a thread beside the
            event loop, as in `quantize_diffusion_model_async`. While samples are made, torch's
            random numbers have a seed of their own: let nothing else draw any. Cancelling waits
            for the call of the model that is under way.

        Returns
        -------
        dict
            As there.
        """
        return await _unwrapped(
            _run(
                lambda progress, cancel: self._runs.validate(
                    original_path,
                    quantized_path,
                    progress,
                    cancel,
                    model=model,
                    inputs=inputs,
                    calibration=calibration,
                    scheduler=scheduler,
                    sampler=sampler,
                ),
                progress_callback,
            )
        )

    async def quantize_multiple_models_async(
        self,
        models: Sequence[ModelSpec],
        progress_callback: ModelProgressCallback | None = None,
        *,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Quantize several models at once, with one pool of threads and one memory budget.

        A model that fails does not stop the others.

        Parameters
        ----------
        models : sequence of (model_path, output_path, config or None)
            The config with the most threads, and the one that may use the most memory, decide for
            all together.
        progress_callback : callable, optional
            Called on the event loop as ``progress_callback(index, message, fraction)``, and awaited
            if it returns an awaitable.
        return_exceptions : bool
            Whether the exception of a model that failed stands in its place in the list, instead of
            being raised when all others are done.

        Returns
        -------
        list of dict
            The results, in the order of `models`.

        Raises
        ------
        ArrowQuantError
            What the first failing model raised, with a message that says which it was. Its
            ``results`` attribute is the whole list, with the exceptions of those that failed.
        ConfigurationError
            If two models name one output.
        """
        specs = [
            (model, output, DiffusionQuantConfig() if config is None else config)
            for model, output, config in models
        ]
        _check_outputs([output for _, output, _ in specs])
        shared = _core.SharedResources([config for _, _, config in specs])
        at_once = asyncio.Semaphore(max(2, shared.num_threads))
        tasks: list[asyncio.Task[dict[str, Any]]] = []

        async def quantize(index: int) -> dict[str, Any]:
            report = None if progress_callback is None else partial(progress_callback, index)
            async with at_once:
                try:
                    return await _run(
                        lambda progress, cancel: self._runs.quantize_files(
                            *specs[index], progress, cancel, shared
                        ),
                        report,
                    )
                except _CallbackError:
                    for task in tasks:
                        if task is not asyncio.current_task():
                            task.cancel()
                    raise

        tasks += [asyncio.ensure_future(quantize(index)) for index in range(len(specs))]
        results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, _CallbackError):
                raise result.error
        if not return_exceptions:
            _raise_first(results, [model for model, _, _ in specs])
        return results


class _CallbackError(Exception):
    """Carries what a progress callback raised past the work that it stopped."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Delivery:
    """Brings progress from the worker's thread to a callback on the event loop, in order."""

    def __init__(self, callback: AsyncProgressCallback, cancel: CancelToken) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[str, float] | None] = asyncio.Queue()
        self._callback = callback
        self._cancel = cancel
        self._task = asyncio.ensure_future(self._deliver())

    def report(self, message: str, fraction: float) -> None:
        """Take a report; called by the worker."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, (message, fraction))

    async def _deliver(self) -> None:
        while (report := await self._queue.get()) is not None:
            try:
                outcome = self._callback(*report)
                if inspect.isawaitable(outcome):
                    await outcome
            except BaseException:
                self._cancel.cancel()
                raise

    async def finish(self) -> None:
        """Wait until all was delivered. Raises `_CallbackError` if the callback raised."""
        self._queue.put_nowait(None)
        try:
            await self._task
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            raise _CallbackError(error) from None

    def failed(self) -> bool:
        """Whether the callback has raised."""
        return self._task.done() and not self._task.cancelled() and bool(self._task.exception())

    def stop(self) -> None:
        """Deliver nothing more."""
        self._task.cancel()


async def _run(
    work: Callable[[ProgressCallback | None, CancelToken], dict[str, Any]],
    progress_callback: AsyncProgressCallback | None,
) -> dict[str, Any]:
    """Do `work` in a thread of its own. Raises `_CallbackError` if the callback raised."""
    if progress_callback is not None and not callable(progress_callback):
        raise TypeError("progress_callback must be None or callable")
    cancel = CancelToken()
    delivery = None if progress_callback is None else _Delivery(progress_callback, cancel)
    executor = ThreadPoolExecutor(1, thread_name_prefix="arrow_quant")
    future = asyncio.get_running_loop().run_in_executor(
        executor, work, None if delivery is None else delivery.report, cancel
    )
    executor.shutdown(wait=False)
    try:
        result = await asyncio.shield(future)
        if delivery is not None:
            await delivery.finish()
        return result
    except asyncio.CancelledError:
        cancel.cancel()
        await _settle(future)
        raise
    except ArrowQuantError:
        if delivery is not None and delivery.failed():
            await delivery.finish()
        raise
    finally:
        if delivery is not None:
            delivery.stop()


async def _unwrapped(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return or raise what `_run` does; what a callback raised, as it was."""
    try:
        return await work
    except _CallbackError as raised:
        error = raised.error
    raise error


async def _settle(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done, whoever cancels meanwhile, and take no notice of its outcome."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()


def _check_outputs(outputs: Sequence[StrPath]) -> None:
    seen: dict[str, int] = {}
    for index, output in enumerate(outputs):
        path = os.path.realpath(output)
        if path in seen:
            raise ConfigurationError(
                f"models {seen[path]} and {index} both write to {os.fspath(output)}; "
                "name an output of its own for each"
            )
        seen[path] = index


def _raise_first(results: list[Any], models: Sequence[StrPath]) -> None:
    """Raise the first exception among the results, saying which model it was."""
    for index, result in enumerate(results):
        if isinstance(result, ArrowQuantError):
            error = type(result)(
                f"model {index} of {len(results)}, {os.fspath(models[index])}: {result}"
            )
            error.__dict__.update(result.__dict__)
            error.results = results
            raise error from result
        if isinstance(result, BaseException):
            raise result
