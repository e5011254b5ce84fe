// SPDX-License-Identifier: Apache-2.0
// What a host's ranks write down about a block whose sum would not be finite: for each rank, where in the block its
// first bad element lies. Thread safety: one thread of each process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/exchange.h"
#include "worker/shm_places.h"
#include "worker/shm_rounds.h"

namespace tutti::worker {

class ShmFindings {
 public:
  explicit ShmFindings(std::uint32_t ranks) : words_(ranks) {}

  void begin_block();
  /// Sums a part of the block, which begins at its byte `begin`. False: it stops in front of a result that is not
  /// finite, when every rank's input is still there, and keeps whose input that is.
  bool sum(const BucketSpec& spec, std::uint64_t begin, std::span<const std::byte* const> inputs,
           std::span<std::byte> into);
  void write(const ShmPlaces& places, std::uint32_t bucket, std::uint32_t block) const;
  void read(const ShmPlaces& places, const PlacedTask& task, std::uint32_t block, std::vector<NotFinite>& found) const;

 private:
  void look_closer(const BucketSpec& spec, std::size_t begin, std::span<const std::byte* const> inputs,
                   std::size_t first, std::size_t end);

  std::vector<std::uint32_t> words_;  // about the block in hand, by rank
};

}  // namespace tutti::worker
