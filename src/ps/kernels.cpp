// SPDX-License-Identifier: Apache-2.0
#include "ps/kernels.h"

namespace tutti::ps {

const Kernels& kernels() {
  static const Kernels& best = []() -> const Kernels& {
    if (const Kernels* level = kernels_detail::avx512()) return *level;
    if (const Kernels* level = kernels_detail::avx2()) return *level;
    return *kernels_detail::plain();
  }();
  return best;
}

}  // namespace tutti::ps
