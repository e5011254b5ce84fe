// SPDX-License-Identifier: Apache-2.0
// What all ranks must agree on before the first step: the model's tensors, and everything else that decides the bits.
// Compared once at the start; the first difference is told with both sides. Thread safety: values.
#pragma once

#include <cereal/types/utility.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/dtype.h"
#include "common/result.h"

namespace tutti {
class Member;
}

namespace tutti::worker {

struct TableTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  bool trained = true;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, dtype, shape, trained);
  }
  bool operator==(const TableTensor&) const = default;
};
/// float32 [16, 1, 3, 3]
std::string describe(const TableTensor& tensor);

struct ParameterTable {
  std::vector<std::pair<std::string, std::string>>
      facts;  ///< "threads" -> "1", "seed" -> "0", "LibTorch" -> "2.15.0", ...
  std::vector<TableTensor> parameters;
  std::vector<TableTensor> buffers;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(facts, parameters, buffers);
  }
};

/// The first difference between two ranks' tables, in words; nothing when they are equal.
std::optional<std::string> first_difference(const ParameterTable& ours, int our_rank, const ParameterTable& theirs,
                                            int their_rank);

/// Collective: every rank gets the same answer, kMismatch naming the first rank that differs from rank 0 and the first
/// difference.
Result<> agree_on(const ParameterTable& table, Member& member, int rank, Deadline deadline);

}  // namespace tutti::worker
