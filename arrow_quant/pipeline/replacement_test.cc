#include "arrow_quant/pipeline/replacement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/orchestrator.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

using namespace testing_model;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

using Tree = std::map<std::string, std::string>;

class Replacement : public testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(model(), {bf16_tensor("blocks.0.fc.weight", {64, 64}, 1)});
  }

  fs::path model() const { return dir / "model.safetensors"; }
  fs::path out() const { return dir / "runs/o"; }
  fs::path beside() const { return dir / "runs/.o.arrow_quant-new"; }

  QuantizationResult quantize(int bits, bool overwrite) {
    DiffusionQuantConfig config;
    config.bit_width = bits;
    config.modality = Modality::Image;
    config.overwrite = overwrite;
    return DiffusionOrchestrator(config).quantize_model(model(), out());
  }
  // What is left by a process that is killed just after it swapped a model of `bits` in.
  void swap_in_and_die(int bits) {
    fs::rename(out(), dir / "runs/old");
    quantize(bits, false);
    fs::rename(out(), beside());
    fs::rename(dir / "runs/old", out());
    swap_in(out());
  }

  TempDir dir;
};

TEST_F(Replacement, LeavesNothingBesideTheOutput) {
  quantize(4, false);
  quantize(8, true);
  EXPECT_THAT(names_in(dir / "runs"), ElementsAre("o"));
}

TEST_F(Replacement, OfAKilledRunIsFinishedByTheNextOne) {
  for (const bool foreign : {false, true}) {  // what was replaced: a model, or anything else
    for (const int bits : {8, 2}) {           // the same command, or another
      SCOPED_TRACE(std::to_string(foreign) + " " + std::to_string(bits));
      fs::remove_all(out());
      if (foreign) {
        dir.write("runs/o/my notes.txt", "gone since --overwrite was given");
      } else {
        quantize(4, false);
      }
      swap_in_and_die(8);
      EXPECT_TRUE(fs::exists(beside()));
      EXPECT_EQ(quantize(bits, true).up_to_date, bits == 8);
      EXPECT_THAT(names_in(dir / "runs"), ElementsAre("o"));
    }
  }
}

TEST_F(Replacement, OfAFileIsFinishedToo) {
  dir.write("runs/o", "a file");
  swap_in_and_die(4);
  EXPECT_TRUE(fs::is_regular_file(beside()));
  EXPECT_TRUE(quantize(4, false).up_to_date);
  EXPECT_THAT(names_in(dir / "runs"), ElementsAre("o"));
}

TEST_F(Replacement, InTwoStepsIsUndoneWhereItStoppedInTheMiddle) {
  quantize(4, false);
  const Tree before = read_tree(out());
  swap_in_and_die(8);
  fs::rename(out(), dir / "runs/made");  // as after the first of two steps
  fs::rename(beside(), dir / "runs/.o.arrow_quant-new.old");
  fs::rename(dir / "runs/made", beside());
  finish_replacement(out());
  EXPECT_EQ(read_tree(out()), before);
  EXPECT_TRUE(quantize(8, true).quantized_path == out());
  EXPECT_THAT(names_in(dir / "runs"), ElementsAre("o"));
}

TEST_F(Replacement, RemovesAModelThatAKilledRunMadeAndDidNotSwapIn) {
  quantize(4, false);
  fs::rename(out(), beside());
  quantize(8, false);
  EXPECT_TRUE(quantize(8, true).up_to_date);
  EXPECT_THAT(names_in(dir / "runs"), ElementsAre("o"));
}

TEST_F(Replacement, TouchesNothingThatNoRunLeft) {
  quantize(4, false);
  const Tree before = read_tree(out());
  dir.write("runs/.o.arrow_quant-new/mine.txt", "mine");
  EXPECT_TRUE(quantize(4, true).up_to_date);
  std::string message;
  EXPECT_EQ(code_of([&] { quantize(8, true); }, &message), ErrorCode::OutputExists);
  EXPECT_THAT(message, HasSubstr(beside().string() + " is where the model is made that replaces"));
  EXPECT_EQ(read_bytes(beside() / "mine.txt"), "mine");
  EXPECT_EQ(read_tree(out()), before);

  fs::rename(beside(), dir / "elsewhere");
  fs::create_directory_symlink(dir / "elsewhere", beside());
  EXPECT_EQ(code_of([&] { quantize(8, true); }), ErrorCode::OutputExists);
  EXPECT_EQ(read_bytes(dir / "elsewhere/mine.txt"), "mine");
  fs::remove(beside());

  swap_in_and_die(8);
  fs::rename(beside(), dir / "old");  // the user was quicker
  dir.write("runs/.o.arrow_quant-new/mine.txt", "mine");
  EXPECT_TRUE(quantize(8, true).up_to_date);
  EXPECT_EQ(read_bytes(beside() / "mine.txt"), "mine");
}

}  // namespace
}  // namespace arrow_quant
