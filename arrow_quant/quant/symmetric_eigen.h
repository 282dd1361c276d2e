// Eigenvalues and eigenvectors of small symmetric matrices, in double.
#pragma once

#include <cstddef>
#include <vector>

namespace arrow_quant {

struct SymmetricEigen {
  std::vector<double> values;   // falling
  std::vector<double> vectors;  // [n, n], row-major; row i belongs to values[i], of length 1
};

// a: [n, n], row-major; finite; only its symmetric part counts. Jacobi's method: rotations of two
// axes each, until nothing off the diagonal is left. Cost: some ten times 4 · n³ operations. The
// same bytes on every instruction set.
SymmetricEigen symmetric_eigen(std::vector<double> a, size_t n);

}  // namespace arrow_quant
