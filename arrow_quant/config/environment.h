// Options from the environment: ARROW_QUANT_ and the option's name in capitals, such as
// ARROW_QUANT_BIT_WIDTH=8. They come before the profile's defaults, and after files, flags and
// arguments.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/config/options.h"

namespace arrow_quant {

// "ARROW_QUANT_BIT_WIDTH" of "bit_width".
std::string environment_variable(std::string_view option);

// The options that are set now; an empty variable counts as not set, and a variable that names no
// option is none of ours. Lists are separated by commas, entries of maps are "name=4", true and
// false may be 1 and 0.
// Throws: Error(Configuration), Error(InvalidBitWidth) naming the variable, its value and what is
// allowed, also for values out of range.
std::vector<GivenOption> environment_options();

}  // namespace arrow_quant
