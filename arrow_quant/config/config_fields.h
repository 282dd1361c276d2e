// The one list of options: for every field of DiffusionQuantConfig its names, what it allows and
// one line of documentation. YAML keys, keyword arguments, flags, environment variables, the
// manifest and the documentation follow from it.
#pragma once

#include "arrow_quant/config/field_info.h"
#include "arrow_quant/config/thermodynamic_fields.h"

namespace arrow_quant {

inline constexpr double kBitWidths[] = {2, 4, 8};
inline constexpr double kGroupSizeChoices[] = {32, 64, 128, 256};
inline constexpr double kErrorNorms[] = {2, 2.5, 3, 4};
inline constexpr double kActivationBits[] = {4, 8};
inline constexpr double kLayerBitWidths[] = {2, 4, 8, 16};

// The options that Python also takes by position, in that order.
template <class Config, class Visitor>
void visit_positional_fields(Config& config, Visitor&& visit) {
  visit(FieldInfo{.name = "bit_width",
                  .alias = "bits",
                  .flags = "--bits,--bit-width",
                  .doc = "bits of a quantized weight",
                  .one_of = kBitWidths,
                  .code = ErrorCode::InvalidBitWidth},
        config.bit_width);
  visit(FieldInfo{.name = "modality",
                  .flags = "--modality",
                  .doc = "what the model makes; detected if not given"},
        config.modality);
  visit(FieldInfo{.name = "num_time_groups",
                  .flags = "--num-time-groups",
                  .doc = "groups of timesteps with parameters of their own",
                  .min = 1,
                  .max = 1000},
        config.num_time_groups);
  visit(FieldInfo{.name = "group_size",
                  .flags = "--group-size",
                  .doc = "weights along the input axis that share a scale",
                  .one_of = kGroupSizeChoices},
        config.group_size);
  visit(
      FieldInfo{.name = "enable_time_aware",
                .flags = "--time-aware",
                .doc = "let parameters differ between groups of timesteps; needs calibration data"},
      config.enable_time_aware);
  visit(FieldInfo{.name = "enable_spatial",
                  .flags = "--spatial",
                  .doc = "smooth and rotate inputs where that lowers the error of held-out "
                         "outputs; without calibration data even out columns of weights where "
                         "that lowers their error"},
        config.enable_spatial);
  visit(FieldInfo{.name = "min_accuracy",
                  .flags = "--min-accuracy",
                  .doc = "cosine similarity below which a layer gets more bits",
                  .min = 0,
                  .max = 1},
        config.min_accuracy);
  visit(FieldInfo{.name = "calibration_samples",
                  .flags = "--calibration-samples",
                  .doc = "how many trajectories of calibration data choose activation parameters",
                  .min = 1},
        config.calibration_samples);
  visit(FieldInfo{.name = "deployment_profile",
                  .flags = "--profile,--deployment-profile",
                  .doc = "sets the defaults of bits, groups, min accuracy, samples and memory",
                  .changes_output = false},
        config.deployment_profile);
  visit(
      FieldInfo{.name = "fail_fast",
                .flags = "--fail-fast",
                .doc = "stop at the first layer below min accuracy instead of giving it more bits",
                .changes_output = false},
      config.fail_fast);
  visit_transition_fields(config.thermodynamic.transition_optimization, visit);
}

template <class Config, class Visitor>
void visit_keyword_fields(Config& config, Visitor&& visit) {
  visit(FieldInfo{.name = "num_threads",
                  .flags = "--threads,--num-threads",
                  .doc = "threads to use; 0: as many as this process may use",
                  .min = 0,
                  .max = 1024,
                  .changes_output = false},
        config.num_threads);
  visit(FieldInfo{.name = "enable_streaming",
                  .flags = "--streaming",
                  .doc = "stay within the memory limit instead of working as fast as possible",
                  .changes_output = false},
        config.enable_streaming);
  visit(FieldInfo{.name = "max_memory_limit_mb",
                  .flags = "--max-memory-mb,--max-memory-limit-mb",
                  .doc = "memory that a streaming run may use above the idle process, in MiB",
                  .min = 1,
                  .changes_output = false},
        config.max_memory_limit_mb);
  visit_validation_fields(config.thermodynamic.validation, visit);
  visit_smoothing_fields(config.thermodynamic.boundary_smoothing, visit);
  visit(FieldInfo{.name = "calibration_path",
                  .flags = "--calibration,--calibration-path",
                  .doc = "file with calibration data; calibration.parquet of the model's folder if "
                         "not given",
                  .changes_output = false},
        config.calibration_path);
  visit(FieldInfo{.name = "activation_bits",
                  .flags = "--activation-bits",
                  .doc = "bits of an activation when the model runs; not quantized if not given",
                  .one_of = kActivationBits},
        config.activation_bits);
  visit(FieldInfo{.name = "activation_mode",
                  .flags = "--activation-mode",
                  .doc = "whether activation ranges are taken at run time or from calibration"},
        config.activation_mode);
  visit(FieldInfo{.name = "enable_activation_clipping",
                  .flags = "--activation-clipping",
                  .doc = "dynamic ranges of 4 bits are clipped, by one ratio for each group of "
                         "timesteps, where that lowers the error of held-out outputs by a tenth; "
                         "needs calibration data"},
        config.enable_activation_clipping);
  visit(FieldInfo{.name = "quality",
                  .flags = "--quality",
                  .doc = "high: layers of 2 or 4 bits get a low-rank part where that lowers the "
                         "error of held-out outputs by a tenth, at a third of a bit per weight at "
                         "most; needs calibration data"},
        config.quality);
  visit(FieldInfo{.name = "compensation",
                  .flags = "--compensation",
                  .doc = "auto: codes make up for each other's errors (GPTQ) where that lowers the "
                         "error of held-out outputs; needs calibration data"},
        config.compensation);
  visit(FieldInfo{.name = "rotation",
                  .flags = "--rotation",
                  .doc = "auto: inputs are rotated (Hadamard) for 2 bit weights or 4 bit "
                         "activations where that lowers the error of held-out outputs"},
        config.rotation);
  visit(FieldInfo{.name = "modules_to_not_compensate",
                  .flags = "--no-compensation,--modules-to-not-compensate",
                  .doc = "layers without it: part of a name, or re: and a regular expression"},
        config.modules_to_not_compensate);
  visit(FieldInfo{.name = "mode",
                  .flags = "--mode",
                  .doc = "diffusion: the rules for a denoiser's layers; base: every weight"},
        config.mode);
  visit(FieldInfo{.name = "method",
                  .flags = "--method",
                  .doc = "how scales are found: least error, or round to nearest on the range"},
        config.method);
  visit(FieldInfo{.name = "error_norm",
                  .flags = "--error-norm",
                  .doc = "the p of the error sum |w - w'|^p that method mse makes least",
                  .one_of = kErrorNorms},
        config.error_norm);
  visit(
      FieldInfo{
          .name = "components",
          .flags = "--component,--components",
          .doc = "parts of a pipeline to quantize; if not given the denoiser, in mode base all"},
      config.components);
  visit(FieldInfo{.name = "modules_to_not_convert",
                  .flags = "--keep,--modules-to-not-convert",
                  .doc = "tensors to keep: part of a name, or re: and a regular expression"},
        config.modules_to_not_convert);
  visit(FieldInfo{.name = "modules_to_convert",
                  .flags = "--modules-to-convert",
                  .doc = "tensors to quantize although a built-in rule would keep them"},
        config.modules_to_convert);
  visit(FieldInfo{.name = "layer_bit_widths",
                  .flags = "--layer-bits,--layer-bit-widths",
                  .doc = "bits of the layers in whose name a regular expression is found, 16: kept",
                  .one_of = kLayerBitWidths},
        config.layer_bit_widths);
  visit(FieldInfo{.name = "target_bits_per_weight",
                  .flags = "--target-bpw,--target-bits-per-weight",
                  .doc = "share bits out among layers by their errors, so many per weight at most",
                  .min = 0,
                  .above_min = true},
        config.target_bits_per_weight);
  visit(FieldInfo{.name = "target_size_mb",
                  .flags = "--target-size-mb",
                  .doc = "the same for a size of all parts, in 10^6 bytes",
                  .min = 0,
                  .above_min = true},
        config.target_size_mb);
  visit(FieldInfo{.name = "on_nonfinite",
                  .flags = "--on-nonfinite",
                  .doc = "a NaN or infinite weight: an error, or its tensor is kept"},
        config.on_nonfinite);
  visit(FieldInfo{.name = "variant",
                  .flags = "--variant",
                  .doc = "which files of the source to take, such as fp16"},
        config.variant);
  visit(FieldInfo{.name = "max_part_size_mb",
                  .flags = "--max-part-size-mb",
                  .doc = "largest size of one output part as planned, in MiB; FORMAT.md says what "
                         "counts",
                  .min = 1,
                  .max = 1048576},
        config.max_part_size_mb);
  visit(FieldInfo{.name = "overwrite",
                  .flags = "--overwrite",
                  .doc = "replace what stands at the output path",
                  .changes_output = false},
        config.overwrite);
}

// Calls visit(FieldInfo, member) for every field. Config is DiffusionQuantConfig or const
// DiffusionQuantConfig.
template <class Config, class Visitor>
void visit_fields(Config& config, Visitor&& visit) {
  visit_positional_fields(config, visit);
  visit_keyword_fields(config, visit);
}

}  // namespace arrow_quant
