#include <arrow_quant/arrow_quant.h>

#include <cstdio>

arrow_quant::QuantizationResult shrink(const char* model, const char* output);

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: consumer MODEL OUTPUT\n");
    return 2;
  }
  try {
    const arrow_quant::QuantizationResult result = shrink(argv[1], argv[2]);
    const auto validation = arrow_quant::DiffusionOrchestrator().validate_quality(argv[1], argv[2]);
    std::printf("%.2fx smaller, cosine %.4f, %s\n", result.compression_ratio,
                result.cosine_similarity, validation.passed ? "passed" : "not passed");
    return validation.passed ? 0 : 3;
  } catch (const arrow_quant::Error& error) {
    std::fprintf(stderr, "%s: %s\n", std::string(to_string(error.code())).c_str(), error.what());
    return 1;
  }
}
