#include "arrow_quant/quant/linear_algebra.h"

#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>

namespace arrow_quant {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kNegligible = 1e-9;  // of the largest eigenvalue: rounding alone
constexpr Index kRows = 64;           // of a product, which are widened together

Eigen::Map<Floats> matrix_of(Directions& d) {
  return {d.x.data(), static_cast<Index>(d.rows), static_cast<Index>(d.width)};
}

// Eigen stores columns one after the other: what is symmetric looks the same to it.
Eigen::Map<const MatrixXd> symmetric_matrix_of(const std::vector<double>& a, size_t n) {
  return {a.data(), static_cast<Index>(n), static_cast<Index>(n)};
}

MatrixXd pseudo_inverse(const MatrixXd& g) {
  const auto inverse_root = [](double square) { return square > 0 ? 1 / std::sqrt(square) : 0; };
  const VectorXd to_length_1 = g.diagonal().unaryExpr(inverse_root);
  const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(to_length_1.asDiagonal() * g *
                                                      to_length_1.asDiagonal());
  const double negligible = kNegligible * eigen.eigenvalues().maxCoeff();
  const auto inverse = [=](double value) { return value > negligible ? 1 / value : 0; };
  const MatrixXd vectors = to_length_1.asDiagonal() * eigen.eigenvectors();
  return vectors * eigen.eigenvalues().unaryExpr(inverse).asDiagonal() * vectors.transpose();
}

}  // namespace

SymmetricEigen symmetric_eigen(const std::vector<double>& a, size_t n) {
  const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(symmetric_matrix_of(a, n));
  const VectorXd values = eigen.eigenvalues().reverse();
  const MatrixXd vectors = eigen.eigenvectors().rowwise().reverse();
  return {{values.begin(), values.end()}, {vectors.data(), vectors.data() + vectors.size()}};
}

void orthonormalize(Directions& d) {
  auto x = matrix_of(d);
  const Index count = std::min(x.rows(), x.cols());
  const Eigen::HouseholderQR<MatrixXd> qr(x.cast<double>());
  const MatrixXd q = qr.householderQ() * MatrixXd::Identity(x.rows(), count);
  x.leftCols(count) = q.cast<float>();
  x.rightCols(x.cols() - count).setZero();
}

void divide_by(Directions& d, const std::vector<double>& g) {
  const MatrixXd inverse = pseudo_inverse(symmetric_matrix_of(g, d.width));
  auto x = matrix_of(d);
  for (Index row = 0; row < x.rows(); row += kRows) {
    auto rows = x.middleRows(row, std::min(kRows, x.rows() - row));
    const MatrixXd divided = rows.cast<double>() * inverse;
    rows = divided.cast<float>();
  }
}

}  // namespace arrow_quant
