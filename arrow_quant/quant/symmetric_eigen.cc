#include "arrow_quant/quant/symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace arrow_quant {
namespace {

constexpr int kMaxSweeps = 60;  // far more than any matrix takes
constexpr double kNegligible = 1e-15;

class Jacobi {
 public:
  Jacobi(std::vector<double>& a, size_t n) : a_(a), n_(n), vectors_(n * n) {
    for (size_t i = 0; i < n; ++i) {
      vectors_[i * n + i] = 1;
      for (size_t j = 0; j < i; ++j) at(i, j) = at(j, i) = (at(i, j) + at(j, i)) / 2;
    }
  }

  void run() {
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      bool rotated = false;
      for (size_t p = 0; p + 1 < n_; ++p) {
        for (size_t q = p + 1; q < n_; ++q) rotated = clear(p, q) || rotated;
      }
      if (!rotated) return;
    }
  }

  const std::vector<double>& vectors() const { return vectors_; }  // row i: of value i

 private:
  double& at(size_t r, size_t c) { return a_[r * n_ + c]; }

  // Turns the axes p and q so that a[p, q] becomes 0.
  bool clear(size_t p, size_t q) {
    const double off = at(p, q);
    const double on = std::sqrt(std::abs(at(p, p))) * std::sqrt(std::abs(at(q, q)));
    if (off == 0 || std::abs(off) <= kNegligible * on) return false;
    const double theta = (at(q, q) - at(p, p)) / (2 * off);
    const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::sqrt(theta * theta + 1));
    const double c = 1 / std::sqrt(t * t + 1);
    const double s = t * c;
    for (size_t i = 0; i < n_; ++i) turn(at(i, p), at(i, q), c, s);
    for (size_t i = 0; i < n_; ++i) turn(at(p, i), at(q, i), c, s);
    at(p, q) = at(q, p) = 0;
    for (size_t i = 0; i < n_; ++i) turn(vectors_[p * n_ + i], vectors_[q * n_ + i], c, s);
    return true;
  }

  static void turn(double& x, double& y, double c, double s) {
    const double turned = c * x - s * y;
    y = s * x + c * y;
    x = turned;
  }

  std::vector<double>& a_;
  size_t n_;
  std::vector<double> vectors_;
};

}  // namespace

SymmetricEigen symmetric_eigen(std::vector<double> a, size_t n) {
  Jacobi jacobi(a, n);
  jacobi.run();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t i, size_t j) { return a[i * n + i] > a[j * n + j]; });
  SymmetricEigen result;
  for (const size_t i : order) {
    result.values.push_back(a[i * n + i]);
    const auto row = jacobi.vectors().begin() + static_cast<std::ptrdiff_t>(i * n);
    result.vectors.insert(result.vectors.end(), row, row + static_cast<std::ptrdiff_t>(n));
  }
  return result;
}

}  // namespace arrow_quant
