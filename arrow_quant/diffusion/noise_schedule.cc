#include "arrow_quant/diffusion/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

constexpr size_t kTrainingSteps = 1000;
constexpr double kLeast = 1e-12;  // distance of alpha_bar from 0 and 1

double inside(double alpha_bar) {
  return std::clamp(alpha_bar, kLeast, 1 - kLeast);
}

std::vector<double> products_of(std::span<const double> betas) {
  std::vector<double> alpha_bar;
  alpha_bar.reserve(betas.size());
  double product = 1;
  for (const double beta : betas) {
    alpha_bar.push_back(product *= 1 - beta);
  }
  return alpha_bar;
}

std::vector<double> linear_betas() {
  std::vector<double> betas(kTrainingSteps);
  for (size_t t = 0; t < kTrainingSteps; ++t) {
    betas[t] =
        1e-4 + (0.02 - 1e-4) * static_cast<double>(t) / static_cast<double>(kTrainingSteps - 1);
  }
  return betas;
}

std::vector<double> cosine_betas() {
  const auto squared_cosine = [](size_t t) {
    const double time = static_cast<double>(t) / static_cast<double>(kTrainingSteps);
    const double cosine = std::cos((time + 0.008) / 1.008 * std::numbers::pi / 2);
    return cosine * cosine;
  };
  std::vector<double> betas(kTrainingSteps);
  for (size_t t = 0; t < kTrainingSteps; ++t) {
    betas[t] = std::min(1 - squared_cosine(t + 1) / squared_cosine(t), 0.999);
  }
  return betas;
}

[[noreturn]] void refuse(const char* name, size_t index, double value, const char* allowed) {
  throw Error(ErrorCode::InvalidModel,
              "the noise schedule's " + std::string(name) + "[" + std::to_string(index) + "] is " +
                  std::to_string(value) + "; allowed: " + allowed +
                  ". Correct the scheduler config, or set beta_schedule and leave the config out");
}

void check_not_empty(const char* name, std::span<const double> values) {
  if (values.empty()) {
    throw Error(ErrorCode::InvalidModel,
                "the noise schedule's " + std::string(name) +
                    " is empty; one value per training timestep is needed. Correct the scheduler "
                    "config, or set beta_schedule and leave the config out");
  }
}

}  // namespace

double log_snr(double alpha_bar) {
  const double share = inside(alpha_bar);
  return std::log(share / (1 - share));
}

double alpha_bar_of(double log_snr) {
  return 1 / (1 + std::exp(-log_snr));
}

double flow_alpha_bar(double sigma) {
  const double signal = (1 - sigma) * (1 - sigma);
  return signal / (signal + sigma * sigma);
}

double unmasked_fraction(BetaSchedule schedule, double time) {
  return schedule == BetaSchedule::Linear ? 1 - time : std::cos(std::numbers::pi / 2 * time);
}

NoiseSchedule::NoiseSchedule(BetaSchedule schedule)
    : NoiseSchedule(
          products_of(schedule == BetaSchedule::Linear ? linear_betas() : cosine_betas())) {}

NoiseSchedule::NoiseSchedule(std::vector<double> alpha_bar) : alpha_bar_(std::move(alpha_bar)) {
  log_snr_.reserve(alpha_bar_.size());
  for (const double share : alpha_bar_) {
    log_snr_.push_back(arrow_quant::log_snr(share));
  }
}

NoiseSchedule NoiseSchedule::from_betas(std::span<const double> betas) {
  check_not_empty("betas", betas);
  for (size_t t = 0; t < betas.size(); ++t) {
    if (!(betas[t] >= 0 && betas[t] <= 1)) {
      refuse("betas", t, betas[t], "0 to 1");
    }
  }
  return NoiseSchedule(products_of(betas));
}

NoiseSchedule NoiseSchedule::from_alphas_cumprod(std::span<const double> alphas_cumprod) {
  check_not_empty("alphas_cumprod", alphas_cumprod);
  double before = 1;
  for (size_t t = 0; t < alphas_cumprod.size(); ++t) {
    if (!(alphas_cumprod[t] >= 0 && alphas_cumprod[t] <= before)) {
      refuse("alphas_cumprod", t, alphas_cumprod[t], "0 to 1, and at most the value before");
    }
    before = alphas_cumprod[t];
  }
  return NoiseSchedule(std::vector<double>(alphas_cumprod.begin(), alphas_cumprod.end()));
}

double NoiseSchedule::log_snr(double timestep) const {
  const double last = static_cast<double>(steps() - 1);
  const double t = std::clamp(timestep, 0.0, last);
  const double below = std::floor(t);
  const auto i = static_cast<size_t>(below);
  if (t == below) return log_snr_[i];
  return std::lerp(log_snr_[i], log_snr_[i + 1], t - below);
}

std::vector<double> path_kl_weights(std::span<const double> alpha_bar) {
  std::vector<double> weights(alpha_bar.size());
  for (size_t i = 0; i < alpha_bar.size(); ++i) {
    const double here = inside(alpha_bar[i]);
    const bool last = i + 1 == alpha_bar.size();
    const double next = last ? 1.0 : inside(alpha_bar[i + 1]);
    const double alpha = here / next;
    const double beta = 1 - alpha;
    if (beta <= 0) continue;
    const double variance = last ? beta : beta * (1 - next) / (1 - here);
    weights[i] = beta * beta / (2 * variance * alpha * (1 - here));
  }
  return weights;
}

std::vector<double> masked_path_kl_weights(std::span<const double> unmasked) {
  std::vector<double> weights(unmasked.size());
  for (size_t i = 0; i < unmasked.size(); ++i) {
    const double here = inside(unmasked[i]);
    const double next = i + 1 == unmasked.size() ? 1.0 : inside(unmasked[i + 1]);
    weights[i] = std::max(0.0, (next - here) / (1 - here));
  }
  return weights;
}

double coupling(NoiseKind kind, double alpha_bar_a, double alpha_bar_b) {
  const double noisier = inside(std::min(alpha_bar_a, alpha_bar_b));
  const double cleaner = inside(std::max(alpha_bar_a, alpha_bar_b));
  const double squared = kind == NoiseKind::Gaussian
                             ? noisier / cleaner
                             : noisier * (1 - cleaner) / (cleaner * (1 - noisier));
  return std::sqrt(squared);
}

std::vector<double> group_couplings(NoiseKind kind, std::span<const double> log_snr,
                                    std::span<const size_t> begins) {
  std::vector<double> couplings;
  double before = 0;
  for (size_t g = 0; g < begins.size(); ++g) {
    const size_t end = g + 1 < begins.size() ? begins[g + 1] : log_snr.size();
    double sum = 0;
    for (size_t t = begins[g]; t < end; ++t) {
      sum += log_snr[t];
    }
    const double centre = alpha_bar_of(sum / static_cast<double>(end - begins[g]));
    if (g > 0) couplings.push_back(coupling(kind, before, centre));
    before = centre;
  }
  return couplings;
}

}  // namespace arrow_quant
