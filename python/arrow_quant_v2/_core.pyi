import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

class ValidationConfig:
    def __init__(
        self,
        *,
        enabled: bool = False,
        smoothness_threshold: float = 0.25,
        log_violations: bool = True,
    ) -> None: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    enabled: bool
    smoothness_threshold: float
    log_violations: bool
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...

class BoundarySmoothingConfig:
    def __init__(
        self,
        *,
        enabled: bool = False,
        window_size: int = 5,
        interpolation: str = "linear",
    ) -> None: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    enabled: bool
    window_size: int
    interpolation: str
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...

class TransitionOptimizationConfig:
    def __init__(
        self,
        *,
        enabled: bool = False,
        markov_weight: float = 0.1,
        entropy_weight: float = 0.05,
        learning_rate: float = 0.01,
        max_iterations: int = 50,
        convergence_threshold: float = 0.0001,
        beta_schedule: str = "linear",
    ) -> None: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    enabled: bool
    markov_weight: float
    entropy_weight: float
    learning_rate: float
    max_iterations: int
    convergence_threshold: float
    beta_schedule: str
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...

class ThermodynamicConfig:
    def __init__(
        self,
        *,
        validation: ValidationConfig | None = None,
        boundary_smoothing: BoundarySmoothingConfig | None = None,
        transition_optimization: TransitionOptimizationConfig | None = None,
    ) -> None: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    validation: ValidationConfig
    boundary_smoothing: BoundarySmoothingConfig
    transition_optimization: TransitionOptimizationConfig
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(
        self,
    ) -> tuple[ValidationConfig, BoundarySmoothingConfig, TransitionOptimizationConfig]: ...
    def __setstate__(
        self,
        state: tuple[ValidationConfig, BoundarySmoothingConfig, TransitionOptimizationConfig],
    ) -> None: ...

class CancelToken:
    def __init__(self) -> None: ...
    def cancel(self) -> None: ...
    def check(self) -> None: ...

class SharedResources:
    def __init__(self, configs: Sequence[DiffusionQuantConfig]) -> None: ...
    @property
    def num_threads(self) -> int: ...

class DiffusionQuantConfig:
    def __init__(
        self,
        bit_width: int = 4,
        modality: str | None = None,
        num_time_groups: int = 10,
        group_size: int = 128,
        enable_time_aware: bool = True,
        enable_spatial: bool = True,
        min_accuracy: float = 0.85,
        calibration_samples: int = 128,
        deployment_profile: str = "local",
        fail_fast: bool = False,
        enable_transition_optimization: bool = False,
        markov_weight: float = 0.1,
        entropy_weight: float = 0.05,
        learning_rate: float = 0.01,
        max_iterations: int = 50,
        convergence_threshold: float = 0.0001,
        beta_schedule: str = "linear",
        *,
        num_threads: int = 0,
        enable_streaming: bool = False,
        max_memory_limit_mb: int = 1024,
        enable_markov_validation: bool = False,
        smoothness_threshold: float = 0.25,
        log_violations: bool = True,
        enable_boundary_smoothing: bool = False,
        window_size: int = 5,
        interpolation: str = "linear",
        calibration_path: str | os.PathLike[str] | None = None,
        activation_bits: int | None = None,
        activation_mode: str = "dynamic",
        enable_activation_clipping: bool = True,
        quality: str = "standard",
        compensation: str = "auto",
        rotation: str = "auto",
        modules_to_not_compensate: Sequence[str] = [],
        mode: str = "diffusion",
        method: str = "mse",
        error_norm: float = 3.0,
        components: Sequence[str] = [],
        modules_to_not_convert: Sequence[str] = [],
        modules_to_convert: Sequence[str] = [],
        layer_bit_widths: Mapping[str, int] = {},
        target_bits_per_weight: float | None = None,
        target_size_mb: float | None = None,
        on_nonfinite: str = "error",
        variant: str | None = None,
        max_part_size_mb: int = 2048,
        overwrite: bool = False,
        bits: int = 4,
        thermodynamic: ThermodynamicConfig | None = None,
    ) -> None: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    bit_width: int
    bits: int
    modality: str | None
    num_time_groups: int
    group_size: int
    enable_time_aware: bool
    enable_spatial: bool
    min_accuracy: float
    calibration_samples: int
    deployment_profile: str
    fail_fast: bool
    enable_transition_optimization: bool
    markov_weight: float
    entropy_weight: float
    learning_rate: float
    max_iterations: int
    convergence_threshold: float
    beta_schedule: str
    num_threads: int
    enable_streaming: bool
    max_memory_limit_mb: int
    enable_markov_validation: bool
    smoothness_threshold: float
    log_violations: bool
    enable_boundary_smoothing: bool
    window_size: int
    interpolation: str
    @property
    def calibration_path(self) -> str | None: ...
    @calibration_path.setter
    def calibration_path(self, value: str | os.PathLike[str] | None) -> None: ...
    activation_bits: int | None
    activation_mode: str
    enable_activation_clipping: bool
    quality: str
    compensation: str
    rotation: str
    @property
    def modules_to_not_compensate(self) -> list[str]: ...
    @modules_to_not_compensate.setter
    def modules_to_not_compensate(self, value: Sequence[str]) -> None: ...
    mode: str
    method: str
    error_norm: float
    on_nonfinite: str
    variant: str | None
    max_part_size_mb: int
    overwrite: bool
    thermodynamic: ThermodynamicConfig
    @property
    def components(self) -> list[str]: ...
    @components.setter
    def components(self, value: Sequence[str]) -> None: ...
    @property
    def modules_to_not_convert(self) -> list[str]: ...
    @modules_to_not_convert.setter
    def modules_to_not_convert(self, value: Sequence[str]) -> None: ...
    @property
    def modules_to_convert(self) -> list[str]: ...
    @modules_to_convert.setter
    def modules_to_convert(self, value: Sequence[str]) -> None: ...
    @property
    def layer_bit_widths(self) -> dict[str, int]: ...
    @layer_bit_widths.setter
    def layer_bit_widths(self, value: Mapping[str, int]) -> None: ...
    target_bits_per_weight: float | None
    target_size_mb: float | None
    @staticmethod
    def from_profile(profile: str) -> DiffusionQuantConfig: ...
    @staticmethod
    def from_yaml(path: str | os.PathLike[str]) -> DiffusionQuantConfig: ...
    def to_yaml(self, path: str | os.PathLike[str]) -> None: ...
    def validate(self) -> None: ...
    def to_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object) -> bool: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...

def config_options() -> list[dict[str, Any]]: ...

class ArrowBatch:
    def __len__(self) -> int: ...
    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...

class LayerReport:
    @property
    def name(self) -> str: ...
    @property
    def component(self) -> str: ...
    @property
    def shape(self) -> list[int]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def quant_type(self) -> str: ...
    @property
    def bit_width(self) -> int: ...
    @property
    def group_size(self) -> int: ...
    @property
    def num_params(self) -> int: ...
    @property
    def source_bytes(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def cosine_similarity(self) -> float | None: ...
    @property
    def sqnr_db(self) -> float | None: ...
    @property
    def max_abs_error(self) -> float | None: ...
    @property
    def output_sqnr_db(self) -> float | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def transforms(self) -> list[str]: ...
    @property
    def hadamard_block(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def bias_groups(self) -> int: ...
    @property
    def act_bits(self) -> int: ...
    @property
    def act_mode(self) -> str: ...

class QuantizedModel:
    @staticmethod
    def open(path: str | os.PathLike[str]) -> QuantizedModel: ...
    @property
    def manifest_json(self) -> str: ...
    def keys(self) -> list[str]: ...
    def report(self, index: int) -> LayerReport: ...
    def dequantize(self, index: int, dtype: str, as_torch: bool) -> Any: ...
    def read_packed(
        self, index: int
    ) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]]: ...
    def read_extras(
        self, index: int
    ) -> tuple[
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
    ]: ...
    def time_groups(self, component: str) -> str | None: ...
    def read_codes(self, index: int) -> list[NDArray[Any]]: ...
    def read_scales(self, index: int) -> list[NDArray[Any]]: ...
    def read_offsets(self, index: int) -> list[NDArray[Any]]: ...

def quantize_model(
    model_path: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    config: DiffusionQuantConfig,
    progress_callback: Callable[[str, float], object] | None,
    cancel: CancelToken | None = None,
    shared: SharedResources | None = None,
) -> str: ...
def validate_quality(
    original_path: str | os.PathLike[str],
    quantized_path: str | os.PathLike[str],
    progress_callback: Callable[[str, float], object] | None,
    cancel: CancelToken | None = None,
) -> str: ...
def revise_model(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    component: str,
    time_groups: str | None,
    bias_corrections: Mapping[str, NDArray[Any] | None],
    activations: Mapping[str, tuple[int, str, NDArray[Any], NDArray[Any], NDArray[Any]] | None],
    cancel: CancelToken | None = None,
) -> None: ...
def quantize_batch_arrow(
    table: object, config: DiffusionQuantConfig, continue_on_error: bool
) -> ArrowBatch: ...
def dequantize_batch_arrow(batch: object, num_threads: int) -> ArrowBatch: ...
def inspect_model(path: str | os.PathLike[str], config: DiffusionQuantConfig) -> str: ...
