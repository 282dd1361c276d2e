// Which instruction sets the kernels are compiled for. Comes before every header of Highway.
#pragma once

#ifdef ARROW_QUANT_FEW_TARGETS
#define HWY_DISABLED_TARGETS (~(HWY_AVX2 | HWY_NEON | HWY_EMU128 | HWY_SCALAR))
#else
// Vectors whose width the compiler does not know do not fit the kernels' arrays of vectors.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
// The fallback has four lanes too. Highway avoids it with older GCC for a miscompiled
// multiplication of unsigned 16-bit integers, which no kernel uses; the tests run it like any other
// target.
#define HWY_BROKEN_EMU128 0
