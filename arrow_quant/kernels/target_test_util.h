// Tests that run on every instruction set that this machine has and the library was built for.
#pragma once

#include "arrow_quant/kernels/targets.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>
#include <vector>

#include "arrow_quant/kernels/kernels.h"

namespace arrow_quant::kernels {

class TargetTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { use(GetParam()); }
  void TearDown() override { use(0); }

 private:
  static void use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    if (target != 0) {
      ASSERT_STREQ(active_target(), hwy::TargetName(target));
    }
  }
};

inline std::vector<int64_t> targets_of_this_machine() {
  return hwy::SupportedAndGeneratedTargets();
}

inline std::string target_name(const testing::TestParamInfo<int64_t>& target) {
  return hwy::TargetName(target.param);
}

}  // namespace arrow_quant::kernels
