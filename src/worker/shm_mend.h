// SPDX-License-Identifier: Apache-2.0
// What one rank of a host makes of the segment when ranks were lost (ShmWork::mend).
// Thread safety: nobody else works in the segment.
#pragma once

#include <cstdint>
#include <span>

#include "worker/shm_places.h"
#include "worker/shm_rounds.h"

namespace tutti::worker {

class ShmMender {
 public:
  /// `round`: the one that newcomers begin with. What is handed in by reference outlives this.
  ShmMender(ShmRounds& rounds, ShmPlaces& places, std::uint32_t ranks, std::uint64_t round,
            std::span<const std::uint32_t> lost)
      : rounds_(rounds), places_(places), ranks_(ranks), round_(round), lost_(lost) {}

  /// A task that sums in place, or shares what another exchange has put into rank 0's bucket.
  void mend(std::uint32_t task);
  /// A sum that lies apart, and what shares its result.
  void mend_apart(std::uint32_t sum, std::uint32_t share);

 private:
  bool is_lost(std::uint32_t rank) const;
  void share_what_is_whole(std::uint32_t sum, std::uint32_t share);
  void forget(std::uint32_t task);
  template <class F>
  void count_done(std::uint32_t task, F f);

  ShmRounds& rounds_;
  ShmPlaces& places_;
  const std::uint32_t ranks_;
  const std::uint64_t round_;
  const std::span<const std::uint32_t> lost_;
};

}  // namespace tutti::worker
