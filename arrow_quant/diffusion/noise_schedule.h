// NoiseSchedule: how much of the signal is left at each timestep, and what follows from that alone:
// log-SNR, the coordinate in which timesteps of different samplers meet; the weights with which
// errors of single steps add up to a divergence of whole paths; how much two noise levels share.
//
// Everywhere alpha_bar is the signal's share of the variance, 1 = clean, 0 = noise alone. For a
// text model that masks tokens it is the fraction of tokens that are not masked.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/thermodynamic.h"

namespace arrow_quant {

// How the signal is destroyed.
enum class NoiseKind {
  Gaussian,  // images, audio: noise is added
  Masking,   // text, code: tokens are hidden
};

// ln(alpha_bar / (1 − alpha_bar)); alpha_bar is kept 1e-12 from 0 and 1, so that pure noise and
// clean data have finite values (±27.6).
double log_snr(double alpha_bar);
double alpha_bar_of(double log_snr);

// Flow matching, x_t = (1 − sigma)·x_0 + sigma·noise: the alpha_bar with the same ratio of signal
// to noise, (1 − sigma)² / ((1 − sigma)² + sigma²). sigma is 0 … 1.
double flow_alpha_bar(double sigma);

// The fraction of unmasked tokens at time 0 (none masked) … 1 (all masked), for models that do not
// say it: 1 − time (linear), cos(π/2 · time) (cosine).
double unmasked_fraction(BetaSchedule schedule, double time);

class NoiseSchedule {
 public:
  // 1000 steps. Linear: betas from 1e-4 to 0.02 (Ho et al. 2020). Cosine: alpha_bar follows
  // cos²((t/T + 0.008)/1.008 · π/2), betas at most 0.999 (Nichol and Dhariwal 2021).
  explicit NoiseSchedule(BetaSchedule schedule);

  // As a model's scheduler config gives them, from clean to noisy: betas in 0 … 1, or alpha_bar in
  // 0 … 1, never rising. Throw Error(InvalidModel) naming the first entry that breaks this.
  static NoiseSchedule from_betas(std::span<const double> betas);
  static NoiseSchedule from_alphas_cumprod(std::span<const double> alphas_cumprod);

  size_t steps() const { return alpha_bar_.size(); }
  // Of each timestep; [0] is the cleanest.
  std::span<const double> alpha_bar() const { return alpha_bar_; }

  // At a timestep between 0 and steps() − 1, interpolated linearly in log-SNR; outside, the end's.
  double log_snr(double timestep) const;

 private:
  explicit NoiseSchedule(std::vector<double> alpha_bar);

  std::vector<double> alpha_bar_;
  std::vector<double> log_snr_;
};

// lambda of each step of a chain that visits these noise levels, noisiest first:
//   KL(full-precision chain ‖ quantized chain) = Σ lambda_t · E‖eps − eps_quantized‖²   in nats,
// exact for ancestral sampling with equal variances, by the chain rule of KL:
//   lambda = beta² / (2 sigma² alpha (1 − alpha_bar)),  alpha = alpha_bar / alpha_bar of the next,
//   sigma² = beta (1 − alpha_bar of the next) / (1 − alpha_bar), of the last step beta.
// The step after the last is clean. A level that repeats weighs 0: nothing happens between.
std::vector<double> path_kl_weights(std::span<const double> alpha_bar);

// The same for masking, of each token that is masked at a step, times the divergence of its
// distributions: the probability that the step uncovers it, (next − here) / (1 − here).
std::vector<double> masked_path_kl_weights(std::span<const double> unmasked);

// How much of the state survives between two noise levels: the correlation of the noisier with the
// cleaner one, in (0, 1], in any order. Gaussian: √(noisier / cleaner). Masking: that of "is
// visible" at both, √(n (1 − c) / (c (1 − n))).
double coupling(NoiseKind kind, double alpha_bar_a, double alpha_bar_b);

// coupling() of neighbouring groups of steps, each at the mean log-SNR of its steps: one value per
// boundary. log_snr: of each step. begins: the first step of each group, begins[0] = 0, rising.
std::vector<double> group_couplings(NoiseKind kind, std::span<const double> log_snr,
                                    std::span<const size_t> begins);

}  // namespace arrow_quant
