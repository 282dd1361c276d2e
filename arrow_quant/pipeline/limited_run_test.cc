// Runs that are cancelled, limited in memory, or share what they work with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <regex>
#include <thread>

#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/quantize_model.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

using namespace testing_model;
using testing::HasSubstr;

class LimitedRun : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<TestTensor> tensors;
    for (uint32_t i = 0; i < 6; ++i) {
      tensors.push_back(bf16_tensor("blocks." + std::to_string(i) + ".fc.weight", {512, 2048}, i));
    }
    write_safetensors(dir / "model.safetensors", tensors);
    config.num_threads = 2;
    config.modality = Modality::Image;
  }
  void quantize(const std::string& name, const RunHooks& hooks = {}) {
    quantize_model(dir / "model.safetensors", dir / name, config, hooks);
  }

  TempDir dir;
  DiffusionQuantConfig config;
};

TEST_F(LimitedRun, ACancelledRunLeavesNothingAndWhatStoodThereStays) {
  quantize("standing");
  const auto standing = read_tree(dir / "standing");
  config.group_size = 64;
  config.overwrite = true;
  for (const double stop_at : {0.0, 0.2, 0.9}) {
    for (const char* name : {"fresh", "standing"}) {
      CancelToken cancel;
      RunHooks hooks;
      hooks.cancel = &cancel;
      hooks.progress = [&](std::string_view, double fraction) {
        if (fraction >= stop_at) cancel.cancel();
      };
      EXPECT_EQ(code_of([&] { quantize(name, hooks); }), ErrorCode::Cancelled);
    }
    EXPECT_FALSE(fs::exists(dir / "fresh")) << stop_at;
    EXPECT_EQ(read_tree(dir / "standing"), standing) << stop_at;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 2) << "the input and what stood";
}

TEST_F(LimitedRun, AMemoryLimitChangesNoByte) {
  quantize("free");
  config.enable_streaming = true;
  config.max_memory_limit_mb = 20;  // for one block at a time, and not for eight threads
  config.num_threads = 8;
  quantize("limited");
  EXPECT_EQ(read_tree(dir / "limited"), read_tree(dir / "free"));
}

TEST_F(LimitedRun, ALimitThatCannotWorkIsRefusedWithTheSmallestThatCan) {
  config.enable_streaming = true;
  config.max_memory_limit_mb = 3;
  std::string message;
  EXPECT_EQ(code_of([&] { quantize("out"); }, &message), ErrorCode::Configuration);
  EXPECT_THAT(message, HasSubstr("max_memory_limit_mb = 3: "));
  EXPECT_FALSE(fs::exists(dir / "out"));
  std::smatch found;
  ASSERT_TRUE(std::regex_search(message, found, std::regex("need at least ([0-9]+)"))) << message;
  config.max_memory_limit_mb = std::stoi(found[1]);
  quantize("out");
  config.max_memory_limit_mb -= 1;
  EXPECT_EQ(code_of([&] { quantize("another"); }), ErrorCode::Configuration);
}

TEST_F(LimitedRun, RunsThatShareThreadsAndMemoryMakeTheBytesOfRunsAlone) {
  quantize("alone");
  SharedResources shared(2, uint64_t{64} << 20);
  RunHooks hooks;
  hooks.shared = &shared;
  {
    std::vector<std::jthread> runs;
    for (int i = 0; i < 4; ++i) {
      runs.emplace_back([&, i] { quantize("shared" + std::to_string(i), hooks); });
    }
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(read_tree(dir / ("shared" + std::to_string(i))), read_tree(dir / "alone"));
  }
  EXPECT_TRUE(shared.memory().try_take(shared.memory().limit_bytes())) << "all was given back";
}

}  // namespace
}  // namespace arrow_quant
