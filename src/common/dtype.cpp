// SPDX-License-Identifier: Apache-2.0
#include "common/dtype.h"

namespace tutti {

std::string_view name_of(DType dtype) noexcept {
  constexpr std::string_view names[kDTypeCount] = {"F32", "F64", "BF16", "F16", "I64",
                                                   "I32", "I16", "I8",   "U8",  "BOOL"};
  return names[static_cast<std::size_t>(dtype)];
}

std::optional<DType> dtype_named(std::string_view name) noexcept {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (name_of(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace tutti
