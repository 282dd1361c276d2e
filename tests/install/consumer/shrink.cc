#include <arrow_quant/arrow_quant.h>

// Quantizes a model to 4 bits and returns what that made of it.
arrow_quant::QuantizationResult shrink(const char* model, const char* output) {
  arrow_quant::DiffusionQuantConfig config;
  config.bit_width = 4;
  return arrow_quant::DiffusionOrchestrator(config).quantize_model(model, output);
}
