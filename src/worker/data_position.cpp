// SPDX-License-Identifier: Apache-2.0
#include "worker/data_position.h"

#include <fmt/format.h>

#include "tutti/error.h"
#include "worker/sharded_order.h"

namespace tutti::worker {

void DataPosition::end_step() noexcept {
  ++step;
  ++step_in_epoch;
}

void DataPosition::end_epoch() noexcept {
  *this = {.epoch = epoch + 1, .step = step};
}

DataPosition DataPosition::to_go_on_from() const noexcept {
  DataPosition position = *this;
  if (samples == 0) return position;  // the program knows what its steps are
  position.samples_before = samples_seen();
  position.step_in_epoch = 0;
  position.samples_per_step = 0;
  return position;
}

void begin_epoch(ShardedOrder& order, DataPosition& position) {
  const auto samples = static_cast<std::int64_t>(order.samples());
  EpochStart start;
  if (position.samples_before > 0) {
    if (position.samples != samples) {
      throw MismatchError(fmt::format("epoch {} began with a data set of {} samples and goes on with one of {}",
                                      position.epoch, position.samples, samples));
    }
    start = {static_cast<std::size_t>(position.samples_before), static_cast<int>(position.order_ranks)};
  } else {
    position.order_ranks = order.ranks();
  }
  order.begin_epoch(static_cast<std::uint64_t>(position.epoch), start);
  position.samples = samples;
  position.samples_per_step = static_cast<std::int64_t>(order.samples_per_step());
}

}  // namespace tutti::worker
