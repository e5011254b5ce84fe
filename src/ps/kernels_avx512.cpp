// SPDX-License-Identifier: Apache-2.0
#include "ps/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <limits>

#define TUTTI_VECTOR __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#include "ps/half.h"
#include "ps/vector_loops.h"

namespace tutti::ps::kernels_detail {
namespace {

struct Float32 {
  using Wide = Float32;
  using Stored = float;
  using Vector = __m512;
  static constexpr std::size_t kLanes = 16;
  static constexpr Stored kBeyond = std::numeric_limits<Stored>::infinity();
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) { return _mm512_loadu_ps(from); }
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) { _mm512_storeu_ps(into, value); }
  TUTTI_VECTOR_INLINE static Vector spread(float number) { return _mm512_set1_ps(number); }
  TUTTI_VECTOR_INLINE static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  TUTTI_VECTOR_INLINE static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  TUTTI_VECTOR_INLINE static Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  TUTTI_VECTOR_INLINE static bool all_below(const Vector (&values)[kVectors], Vector limit) {
    unsigned beyond = 0;
    for (const Vector value : values) beyond |= _mm512_cmp_ps_mask(_mm512_abs_ps(value), limit, _CMP_NLT_UQ);
    return beyond == 0;
  }
};

struct Float64 {
  using Wide = Float64;
  using Stored = double;
  using Vector = __m512d;
  static constexpr std::size_t kLanes = 8;
  static constexpr Stored kBeyond = std::numeric_limits<Stored>::infinity();
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) { return _mm512_loadu_pd(from); }
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) { _mm512_storeu_pd(into, value); }
  TUTTI_VECTOR_INLINE static Vector spread(double number) { return _mm512_set1_pd(number); }
  TUTTI_VECTOR_INLINE static Vector add(Vector a, Vector b) { return _mm512_add_pd(a, b); }
  TUTTI_VECTOR_INLINE static Vector multiply(Vector a, Vector b) { return _mm512_mul_pd(a, b); }
  TUTTI_VECTOR_INLINE static Vector divide(Vector a, Vector b) { return _mm512_div_pd(a, b); }
  TUTTI_VECTOR_INLINE static bool all_below(const Vector (&values)[kVectors], Vector limit) {
    unsigned beyond = 0;
    for (const Vector value : values) beyond |= _mm512_cmp_pd_mask(_mm512_abs_pd(value), limit, _CMP_NLT_UQ);
    return beyond == 0;
  }
};

/// What 16-bit numbers are added in.
struct Half : Float32 {
  using Stored = std::uint16_t;
  TUTTI_VECTOR_INLINE static __m256i load_bits(const Stored* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  TUTTI_VECTOR_INLINE static void store_bits(Stored* into, __m256i bits) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(into), bits);
  }
};

struct BFloat16 : Half {
  static constexpr float kBeyond = kBFloat16Beyond;
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_bits(from)), 16));
  }
  /// The additions of bfloat16_from_float: the processor's own conversion takes subnormals for zero.
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i is_odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    store_bits(into, _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(0x7fc0))));
  }
};

struct Float16 : Half {
  static constexpr float kBeyond = kFloat16Beyond;
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) { return _mm512_cvtph_ps(load_bits(from)); }
  /// The processor would keep a part of what a float32 that is no number says.
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) {
    const __m256i rounded = _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m256i nan = _mm256_and_si256(rounded, _mm256_set1_epi16(static_cast<short>(0xfe00)));
    store_bits(into, _mm256_mask_mov_epi16(rounded, is_nan, nan));
  }
};

}  // namespace

const Kernels* avx512() {
  static const bool has_it = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  static const Kernels table = vector_kernels<Float32, Float64, BFloat16, Float16>();
  return has_it ? &table : nullptr;
}

}  // namespace tutti::ps::kernels_detail
#else
namespace tutti::ps::kernels_detail {
const Kernels* avx512() {
  return nullptr;
}
}  // namespace tutti::ps::kernels_detail
#endif
