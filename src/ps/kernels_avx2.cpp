// SPDX-License-Identifier: Apache-2.0
#include "ps/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#include <limits>

#define TUTTI_VECTOR __attribute__((target("avx2,f16c")))
#include "ps/half.h"
#include "ps/vector_loops.h"

namespace tutti::ps::kernels_detail {
namespace {

struct Float32 {
  using Wide = Float32;
  using Stored = float;
  using Vector = __m256;
  static constexpr std::size_t kLanes = 8;
  static constexpr Stored kBeyond = std::numeric_limits<Stored>::infinity();
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) { return _mm256_loadu_ps(from); }
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) { _mm256_storeu_ps(into, value); }
  TUTTI_VECTOR_INLINE static Vector spread(float number) { return _mm256_set1_ps(number); }
  TUTTI_VECTOR_INLINE static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  TUTTI_VECTOR_INLINE static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  TUTTI_VECTOR_INLINE static Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  TUTTI_VECTOR_INLINE static bool all_below(const Vector (&values)[kVectors], Vector limit) {
    Vector beyond = _mm256_setzero_ps();
    for (const Vector value : values) {
      const Vector magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), value);
      beyond = _mm256_or_ps(beyond, _mm256_cmp_ps(magnitude, limit, _CMP_NLT_UQ));
    }
    return _mm256_movemask_ps(beyond) == 0;
  }
};

struct Float64 {
  using Wide = Float64;
  using Stored = double;
  using Vector = __m256d;
  static constexpr std::size_t kLanes = 4;
  static constexpr Stored kBeyond = std::numeric_limits<Stored>::infinity();
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) { return _mm256_loadu_pd(from); }
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) { _mm256_storeu_pd(into, value); }
  TUTTI_VECTOR_INLINE static Vector spread(double number) { return _mm256_set1_pd(number); }
  TUTTI_VECTOR_INLINE static Vector add(Vector a, Vector b) { return _mm256_add_pd(a, b); }
  TUTTI_VECTOR_INLINE static Vector multiply(Vector a, Vector b) { return _mm256_mul_pd(a, b); }
  TUTTI_VECTOR_INLINE static Vector divide(Vector a, Vector b) { return _mm256_div_pd(a, b); }
  TUTTI_VECTOR_INLINE static bool all_below(const Vector (&values)[kVectors], Vector limit) {
    Vector beyond = _mm256_setzero_pd();
    for (const Vector value : values) {
      const Vector magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), value);
      beyond = _mm256_or_pd(beyond, _mm256_cmp_pd(magnitude, limit, _CMP_NLT_UQ));
    }
    return _mm256_movemask_pd(beyond) == 0;
  }
};

/// What 16-bit numbers are added in.
struct Half : Float32 {
  using Stored = std::uint16_t;
  TUTTI_VECTOR_INLINE static __m128i load_bits(const Stored* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  }
  TUTTI_VECTOR_INLINE static void store_bits(Stored* into, __m128i bits) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(into), bits);
  }
  TUTTI_VECTOR_INLINE static __m256i is_nan(Vector value) {
    return _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
  }
  /// The lower halves of 32-bit integers that fit in 16 bits.
  TUTTI_VECTOR_INLINE static __m128i pack(__m256i wide) {
    return _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  }
};

struct BFloat16 : Half {
  static constexpr float kBeyond = kBFloat16Beyond;
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_bits(from)), 16));
  }
  /// The additions of bfloat16_from_float.
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i is_odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    store_bits(into, pack(_mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), is_nan(value))));
  }
};

struct Float16 : Half {
  static constexpr float kBeyond = kFloat16Beyond;
  TUTTI_VECTOR_INLINE static Vector load(const Stored* from) { return _mm256_cvtph_ps(load_bits(from)); }
  /// The processor would keep a part of what a float32 that is no number says.
  TUTTI_VECTOR_INLINE static void store(Stored* into, Vector value) {
    const __m128i rounded = _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m128i payload = pack(_mm256_and_si256(is_nan(value), _mm256_set1_epi32(0x01ff)));
    store_bits(into, _mm_andnot_si128(payload, rounded));
  }
};

/// clang's __builtin_cpu_supports does not know the name.
bool has_half_conversions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace

const Kernels* avx2() {
  static const bool has_it = __builtin_cpu_supports("avx2") && has_half_conversions();
  static const Kernels table = vector_kernels<Float32, Float64, BFloat16, Float16>();
  return has_it ? &table : nullptr;
}

}  // namespace tutti::ps::kernels_detail
#else
namespace tutti::ps::kernels_detail {
const Kernels* avx2() {
  return nullptr;
}
}  // namespace tutti::ps::kernels_detail
#endif
