// Channel equalization from the weights alone: where the columns of a weight differ in size, those
// that are small share a grid made for the large ones. Scaled to the same size they need not; the
// layer's input is divided by the scale in return (Nagel et al. 2019, arXiv:1906.04721, here
// for one layer).
#pragma once

#include <cstddef>
#include <vector>

#include "arrow_quant/quant/trial.h"

namespace arrow_quant {

// s_j = 1 / rms of column j over these rows, times a power of two that brings their geometric mean
// near 1 (within a factor of 2), within [1/64, 64]; 1 where a column is 0.
std::vector<float> equalizing_scale(const RowsView& rows, TrialScratch& scratch);

// What equalization must gain in dB of SQNR to be worth a scale of 32 bits for each column: 0.2,
// and what so many more bits a weight would bring, 6.02 dB each.
double needed_gain_db(size_t rows);

// How much more SQNR a few rows have with their columns scaled by the sizes that they have in a few
// others, in dB: a sample, to tell whether it is worth a try on all rows. Cost: that of 48 rows.
double sampled_gain_db(const RowsView& rows, const QuantizeSpec& spec, float tensor_scale,
                       TrialScratch& scratch);

}  // namespace arrow_quant
