// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/exchange_client.h"

#include "common/bounded_archive.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr Duration kRetryPause = std::chrono::milliseconds(200);

std::vector<std::byte*> places_of(Buckets& buckets) {
  std::vector<std::byte*> places;
  for (Bytes& bucket : buckets) places.push_back(bucket.data());
  return places;
}

}  // namespace

ExchangeClient::ExchangeClient(Process& process, Owner& owner, std::uint32_t generation, Buckets& buckets)
    : process_(process),
      owner_(owner),
      generation_(generation),
      table_(process.world().settings().table),
      machine_(table_, places_of(buckets), process.member().rank, generation),
      shards_(static_cast<std::size_t>(table_.shards)),
      ports_(static_cast<std::size_t>(table_.shards), 0) {
  for (ToShard& shard : shards_) shard.lanes.resize(static_cast<std::size_t>(table_.connections));
}

void ExchangeClient::later(Duration delay, std::function<void()> f) {
  process_.after(delay, [weak = std::weak_ptr(lives_), f = std::move(f)] {
    if (!weak.expired()) f();
  });
}

void ExchangeClient::connect() {
  for (int shard = 0; shard < table_.shards; ++shard) connect(shard);
}

void ExchangeClient::connect(int shard) {
  owner_.locate(shard, [this, shard, weak = std::weak_ptr(lives_)](Port port) {
    if (!weak.expired()) connect(shard, port, 0);
  });
}

// One after the other: by the first the shard knows that the rank has come again.
void ExchangeClient::connect(int shard, Port port, int connection) {
  ports_[static_cast<std::size_t>(shard)] = port;
  const PeerIdentity self{Role::kWorker, process_.member().rank, generation_, static_cast<std::uint8_t>(connection)};
  to(shard).lanes[static_cast<std::size_t>(connection)] = Link::connect(process_, port, self, kTimeout, *this);
}

int ExchangeClient::shard_of(const Link& link) const {
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    for (const auto& lane : shards_[shard].lanes) {
      if (lane.get() == &link) return static_cast<int>(shard);
    }
  }
  return -1;
}

void ExchangeClient::on_open(Link& link) {
  const int shard = shard_of(link);
  const auto& lanes = to(shard).lanes;
  int next = 0;
  while (next < table_.connections && lanes[static_cast<std::size_t>(next)]) ++next;
  if (next < table_.connections) return connect(shard, ports_[static_cast<std::size_t>(shard)], next);
  send_table(shard);
}

void ExchangeClient::send_table(int shard) {
  to(shard).lanes.front()->send(machine_.header(FrameType::kOpen, 0), encode(ps::OpenRequest{table_, {}}));
}

void ExchangeClient::on_closed(Link& link, const Failure&) {
  const int shard = shard_of(link);
  if (shard >= 0) try_again(shard);
}

void ExchangeClient::try_again(int shard) {
  to(shard).is_open = false;
  to(shard).cut_after.reset();
  for (auto& lane : to(shard).lanes) {
    if (const auto link = std::exchange(lane, nullptr)) link->close();
  }
  later(kRetryPause, [this, shard] { connect(shard); });
}

Result<std::span<std::byte>> ExchangeClient::payload_place(Link& link, const FrameHeader& header) {
  if (header.type != FrameType::kResult) return fail(Errc::kProtocol, "a payload that no client expects");
  return machine_.place(shard_of(link), header);
}

Result<> ExchangeClient::on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) {
  const int shard = shard_of(link);
  if (header.type == FrameType::kOpened) return on_opened(shard, control);
  if (header.type != FrameType::kResult) return fail(Errc::kProtocol, "a frame that no client expects");
  const auto step = machine_.result(shard, header);
  TUTTI_TRY(step);
  to(shard).unanswered.erase(header.chunk);
  carry_out(*step);
  if (machine_.finished() && started_ == table_.buckets.size()) {
    started_ = 0;
    owner_.on_exchange_finished();
  }
  return {};
}

Result<> ExchangeClient::on_opened(int shard, std::span<const std::byte> control) {
  const auto answer = decode<ps::Opened>(control);
  TUTTI_TRY(answer);
  const auto opened = machine_.opened(shard, *answer);
  if (!opened) {
    owner_.on_exchange_failed(opened.error());
    return {};
  }
  to(shard).is_open = true;
  for (const auto& [chunk, push] : std::map(to(shard).unanswered)) {
    process_.world().count_repeat();
    send(push);
  }
  if (!was_open_ && machine_.is_open()) {
    was_open_ = true;
    owner_.on_exchange_open();
  }
  return {};
}

void ExchangeClient::start(const ps::Round& round) {
  draw_repeats();
  start_bucket(round, 0);
}

// For each shard: whether the connections break in the middle of this round's pushes.
void ExchangeClient::draw_repeats() {
  Draw& draw = process_.world().draw();
  for (ToShard& shard : shards_) {
    if (draw.chance(process_.world().repeats())) shard.cut_after = draw.below(machine_.chunk_count());
  }
}

void ExchangeClient::start_bucket(const ps::Round& round, std::uint32_t bucket) {
  const auto step = machine_.start(round, bucket);
  check(step.has_value(), "{} cannot start bucket {} of {}", process_.name(), bucket, ps::describe(round));
  started_ = bucket + 1;
  carry_out(*step);
  if (started_ == table_.buckets.size()) return;
  later(process_.world().draw().seconds(0, 0.01), [this, round, bucket] { start_bucket(round, bucket + 1); });
}

void ExchangeClient::carry_out(const ps::ClientStep& step) {
  for (const ps::ClientPush& push : step.pushes) {
    to(push.shard).unanswered[push.header.chunk] = push;
    send(push);
  }
}

void ExchangeClient::send(const ps::ClientPush& push) {
  ToShard& shard = to(push.shard);
  const auto link = shard.lanes[static_cast<std::size_t>(push.connection)];
  if (!shard.is_open || !link) return;  // it follows when they are open again
  link->send(push.header, {}, push.payload);
  if (!shard.cut_after || (*shard.cut_after)-- > 0) return;
  shard.cut_after.reset();
  later(process_.world().draw().seconds(0, 0.3), [weak = std::weak_ptr(link)] {
    if (const auto broken = weak.lock()) broken->cut();
  });
}

}  // namespace tutti::sim
