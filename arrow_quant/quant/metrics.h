// What quantizing lost: sums over elements that add up in any fixed order, and the figures made of
// them. Formulas: cosine = <x,y> / (|x||y|), SQNR = 10 log10(|x|² / |x − y|²) in dB.
#pragma once

namespace arrow_quant {

// Sums of one run of elements x (original) and y (restored).
struct ErrorStats {
  double dot = 0;          // Σ x·y
  double original_sq = 0;  // Σ x²
  double restored_sq = 0;  // Σ y²
  double error_sq = 0;     // Σ (x − y)²
  double max_abs_error = 0;

  // Adds what follows. Sums in double depend on their order: merge in the order of the elements.
  void merge(const ErrorStats& next);

  // 1 if both are zero (or there are no elements), 0 if one is; else within [−1, 1].
  double cosine() const;
  // +infinity without error, −infinity if only the original is zero.
  double sqnr_db() const;
};

}  // namespace arrow_quant
