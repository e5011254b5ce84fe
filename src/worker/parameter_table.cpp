// SPDX-License-Identifier: Apache-2.0
#include "worker/parameter_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "common/bounded_archive.h"
#include "common/control/member.h"
#include "common/secret.h"

namespace tutti::worker {
namespace {

bool has(const std::vector<TableTensor>& tensors, const std::string& name) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const TableTensor& t) { return t.name == name; });
}

/// Names that differ at one place of the list: missing, extra, in another order, or renamed.
std::string tell_names(std::string_view kind, std::size_t i, const std::vector<TableTensor>& ours, int our_rank,
                       const std::vector<TableTensor>& theirs, int their_rank) {
  const std::string& a = ours[i].name;
  const std::string& b = theirs[i].name;
  if (has(theirs, a) && has(ours, b)) {
    return fmt::format("{} {} is \"{}\" on rank {} and \"{}\" on rank {}: the same names in another order", kind, i, b,
                       their_rank, a, our_rank);
  }
  if (has(theirs, a))
    return fmt::format("{} \"{}\" ({}) of rank {} is missing on rank {}", kind, b, describe(theirs[i]), their_rank,
                       our_rank);
  if (has(ours, b))
    return fmt::format("{} \"{}\" ({}) of rank {} is missing on rank {}", kind, a, describe(ours[i]), our_rank,
                       their_rank);
  return fmt::format("{} {} is \"{}\" ({}) on rank {} and \"{}\" ({}) on rank {}", kind, i, b, describe(theirs[i]),
                     their_rank, a, describe(ours[i]), our_rank);
}

std::optional<std::string> compare_tensors(std::string_view kind, const std::vector<TableTensor>& ours, int our_rank,
                                           const std::vector<TableTensor>& theirs, int their_rank) {
  const std::size_t common = std::min(ours.size(), theirs.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (ours[i].name != theirs[i].name) return tell_names(kind, i, ours, our_rank, theirs, their_rank);
    if (ours[i] == theirs[i]) continue;
    return fmt::format("{} \"{}\" is {} on rank {} and {} on rank {}", kind, ours[i].name, describe(theirs[i]),
                       their_rank, describe(ours[i]), our_rank);
  }
  if (ours.size() == theirs.size()) return std::nullopt;
  const bool extra = ours.size() > theirs.size();
  const TableTensor& tensor = extra ? ours[common] : theirs[common];
  return fmt::format("{} \"{}\" ({}) of rank {} is missing on rank {}", kind, tensor.name, describe(tensor),
                     extra ? our_rank : their_rank, extra ? their_rank : our_rank);
}

constexpr std::size_t kTablePieceBytes = 512u << 10;  // below the bound of a control part

/// Rank 0's table, which may be larger than one control message.
Result<ParameterTable> receive_table_of_rank_0(const std::string& own_bytes, Member& member, Deadline deadline) {
  auto count =
      member.broadcast(std::to_string((own_bytes.size() + kTablePieceBytes - 1) / kTablePieceBytes), 0, deadline);
  TUTTI_TRY(count);
  std::string bytes;
  for (std::size_t i = 0, pieces = std::stoul(*count); i < pieces; ++i) {
    const std::size_t begin = std::min(i * kTablePieceBytes, own_bytes.size());
    auto piece = member.broadcast(own_bytes.substr(begin, kTablePieceBytes), 0, deadline);
    TUTTI_TRY(piece);
    bytes += *piece;
  }
  return decode<ParameterTable>(std::as_bytes(std::span(bytes)));
}

}  // namespace

std::string describe(const TableTensor& tensor) {
  return fmt::format("{} [{}]{}", name_of(tensor.dtype), fmt::join(tensor.shape, ", "),
                     tensor.trained ? "" : " frozen");
}

std::optional<std::string> first_difference(const ParameterTable& ours, int our_rank, const ParameterTable& theirs,
                                            int their_rank) {
  for (std::size_t i = 0; i < std::min(ours.facts.size(), theirs.facts.size()); ++i) {
    if (ours.facts[i] == theirs.facts[i]) continue;
    return fmt::format("{} is {} on rank {} and {} on rank {}", ours.facts[i].first, theirs.facts[i].second, their_rank,
                       ours.facts[i].second, our_rank);
  }
  if (auto difference = compare_tensors("parameter", ours.parameters, our_rank, theirs.parameters, their_rank))
    return difference;
  return compare_tensors("buffer", ours.buffers, our_rank, theirs.buffers, their_rank);
}

Result<> agree_on(const ParameterTable& table, Member& member, int rank, Deadline deadline) {
  const std::string bytes = encode(table);
  const Digest digest = sha256(std::as_bytes(std::span(bytes)));
  auto digests = member.all_gather(std::string(reinterpret_cast<const char*>(digest.data()), digest.size()), deadline);
  TUTTI_TRY(digests);
  if (std::all_of(digests->begin(), digests->end(), [&](const std::string& d) { return d == digests->front(); }))
    return {};

  auto first = receive_table_of_rank_0(bytes, member, deadline);
  TUTTI_TRY(first);
  auto differences = member.all_gather(first_difference(table, rank, *first, 0).value_or(""), deadline);
  TUTTI_TRY(differences);
  for (const std::string& difference : *differences) {
    if (!difference.empty()) return fail(Errc::kMismatch, "the ranks do not agree: " + difference);
  }
  return fail(Errc::kInternal, "the ranks' parameter tables have different digests but no difference");
}

}  // namespace tutti::worker
