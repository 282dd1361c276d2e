// Plain linear algebra on matrices of few columns, by Eigen. In double, whatever the directions
// are stored in; the same bytes on every instruction set, with any number of threads.
// Internal to quant/.
#pragma once

#include <cstddef>
#include <vector>

#include "arrow_quant/quant/directions.h"

// On what is defined in linear_algebra.cc, where everything else is hidden.
#define ARROW_QUANT_VISIBLE [[gnu::visibility("default")]]

namespace arrow_quant {

struct SymmetricEigen {
  std::vector<double> values;   // falling
  std::vector<double> vectors;  // [n, n], row-major; row i belongs to values[i], of length 1
};

// a: [n, n], symmetric and finite.
ARROW_QUANT_VISIBLE SymmetricEigen symmetric_eigen(const std::vector<double>& a, size_t n);

// Directions of length 1, each orthogonal to the others, of which the first k span the first k of
// `d` or more, for each k. Directions that do not fit into the space are 0. Takes two more copies
// of `d`, in double.
ARROW_QUANT_VISIBLE void orthonormalize(Directions& d);

// x · G⁺ for each row x of d, in place; G [width, width] is positive semidefinite. What its
// directions, brought to one length, have less than 1e-9 in common with is rounding, and counts as
// 0: where directions stand for each other, they share the result.
ARROW_QUANT_VISIBLE void divide_by(Directions& d, const std::vector<double>& g);

}  // namespace arrow_quant

#undef ARROW_QUANT_VISIBLE
