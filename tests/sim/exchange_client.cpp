// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/exchange_client.h"

#include <cstring>

#include "common/bounded_archive.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

// As in ps/client_session.cpp: between two tries to reach a shard, and of one of them.
constexpr Duration kPause = std::chrono::milliseconds(50);
constexpr Duration kPatience = std::chrono::seconds(2);

}  // namespace

ExchangeClient::ExchangeClient(Process& process, Owner& owner, std::uint32_t generation, ExchangeMemory memory,
                               std::optional<ExchangeStanding> standing)
    : process_(process),
      owner_(owner),
      generation_(generation),
      table_(process.world().settings().table),
      memory_(std::move(memory)),
      before_(std::move(standing)),
      machine_(table_, memory_.buckets, process.member().rank, generation,
               {!memory_.placement.keeper.empty(), /*keeps_inputs=*/true}),
      shards_(static_cast<std::size_t>(table_.shards)) {
  for (ToShard& shard : shards_) shard.lanes.resize(static_cast<std::size_t>(table_.connections));
  if (before_) machine_.take_over(before_->machine);
}

void ExchangeClient::later(Duration delay, std::function<void()> f) {
  process_.after(delay, [weak = std::weak_ptr(lives_), f = std::move(f)] {
    if (!weak.expired()) f();
  });
}

void ExchangeClient::connect() {
  for (int shard = 0; shard < table_.shards; ++shard) {
    owner_.locate(shard, [this, shard, weak = std::weak_ptr(lives_)](Port port) {
      if (weak.expired()) return;
      to(shard).port = port;
      connect(shard, 0);
    });
  }
}

// One after the other: by the first the shard knows that the rank has come again.
void ExchangeClient::connect(int shard, int connection) {
  const PeerIdentity self{Role::kWorker, process_.member().rank, generation_, static_cast<std::uint8_t>(connection)};
  to(shard).lanes[static_cast<std::size_t>(connection)] =
      Link::connect(process_, to(shard).port, self, kPatience, *this);
}

std::optional<ExchangeClient::Place> ExchangeClient::place_of(const Link& link) const {
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    const auto& lanes = shards_[shard].lanes;
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      if (lanes[lane].get() == &link) return Place{static_cast<int>(shard), static_cast<int>(lane)};
    }
  }
  return std::nullopt;
}

void ExchangeClient::on_open(Link& link) {
  const auto place = place_of(link);
  if (!place) return;
  push_again(*place);
  ToShard& shard = to(place->shard);
  if (place->connection < shard.reached) return;
  if (++shard.reached < table_.connections) connect(place->shard, shard.reached);
}

void ExchangeClient::push_again(Place place) {
  if (place.connection == 0 && !machine_.is_open()) send_table(place.shard);
  for (const ps::ClientPush& push : machine_.push_again(place.shard, place.connection)) {
    process_.world().count(Fault::kRepeat);
    send(push);
  }
}

void ExchangeClient::send_table(int shard) {
  to(shard).lanes.front()->send(machine_.header(FrameType::kOpen, 0),
                                encode(ps::OpenRequest{table_, memory_.placement}));
}

void ExchangeClient::on_closed(Link& link, const Failure&) {
  const auto place = place_of(link);
  if (!place) return;
  to(place->shard).lanes[static_cast<std::size_t>(place->connection)] = nullptr;
  later(kPause, [this, at = *place] { connect(at.shard, at.connection); });
}

Result<std::span<std::byte>> ExchangeClient::payload_place(Link& link, const FrameHeader& header,
                                                           std::span<const std::byte>) {
  if (header.type != FrameType::kResult) return fail(Errc::kProtocol, "a payload that no client expects");
  return machine_.place(place_of(link)->shard, header);
}

Result<> ExchangeClient::on_frame(Link& link, const FrameHeader& header, std::span<const std::byte> control) {
  const int shard = place_of(link)->shard;
  if (header.type == FrameType::kOpened) return on_opened(shard, control);
  if (header.type != FrameType::kResult) return fail(Errc::kProtocol, "a frame that no client expects");
  const auto step = machine_.result(shard, header);
  TUTTI_TRY(step);
  carry_out(*step);
  finish_round();
  return {};
}

bool ExchangeClient::has_all_of(const ps::Round& round) const {
  return machine_.round() == round && machine_.finished() && machine_.standing().next_bucket == table_.buckets.size();
}

void ExchangeClient::finish_round() {
  const bool is_all_started = machine_.standing().next_bucket == table_.buckets.size();
  if (!is_in_round_ || !machine_.finished() || !is_all_started) return;
  is_in_round_ = false;
  owner_.on_exchange_finished();
}

Result<> ExchangeClient::on_opened(int shard, std::span<const std::byte> control) {
  const auto answer = decode<ps::Opened>(control);
  TUTTI_TRY(answer);
  if (machine_.is_open()) return {};
  const auto opened = machine_.opened(shard, *answer);
  if (!opened) {
    owner_.on_exchange_failed(opened.error());
    return {};
  }
  if (!machine_.is_open() || std::exchange(was_open_, true)) return {};
  owner_.on_exchange_open();
  return {};
}

void ExchangeClient::start(const ps::Round& round) {
  is_in_round_ = true;
  draw_cuts();
  start_bucket(round, 0);
}

ExchangeStanding ExchangeClient::standing() const {
  ExchangeStanding standing{machine_.standing(), {}, generation_};
  for (int shard = 0; shard < table_.shards; ++shard) standing.in_place.push_back(machine_.is_in_place(shard));
  return standing;
}

void ExchangeClient::go_on() {
  is_in_round_ = true;
  look_up_results();
  const ps::Round round = machine_.round();
  carry_out(machine_.go_on());
  start_next(round);
}

// Every shard has taken up this generation, or is a new one: what the older ones did in the buckets, they have done.
void ExchangeClient::look_up_results() {
  if (!memory_.journal) return;
  const std::uint64_t stamp = ps::stamp_of(before_->generation, machine_.round());
  for (std::uint32_t number = 0; number < machine_.chunk_count(); ++number) {
    const int shard = machine_.shard_of(number);
    const bool is_input = machine_.standing().chunks[number] == ps::ChunkState::kInput;
    if (!is_input || !before_->in_place[static_cast<std::size_t>(shard)]) continue;
    const ps::Chunk& chunk = machine_.chunk(number);
    std::byte* const place = memory_.buckets[chunk.bucket] + chunk.offset_bytes;
    const ps::ByteRanges found = memory_.journal->recover(shard, chunk, stamp, place);
    if (found.empty()) continue;
    const bool is_whole = found.front() == ps::ByteRange{0, chunk.bytes};
    process_.world().count(is_whole ? Fault::kFoundWhole : Fault::kFoundInPart);
    machine_.found_result(number, found);
  }
}

// For each shard: whether a connection breaks in the middle of this round's pushes.
void ExchangeClient::draw_cuts() {
  Draw& draw = process_.world().draw();
  for (ToShard& shard : shards_) {
    shard.cut_after.reset();
    if (draw.chance(process_.world().repeats())) shard.cut_after = draw.below(machine_.chunk_count());
  }
}

void ExchangeClient::start_bucket(const ps::Round& round, std::uint32_t bucket) {
  const auto step = machine_.start(round, bucket);
  check(step.has_value(), "{} cannot start bucket {} of {}", process_.name(), bucket, ps::describe(round));
  carry_out(*step);
  start_next(round);
}

void ExchangeClient::start_next(const ps::Round& round) {
  const std::uint32_t next = machine_.standing().next_bucket;
  if (next == table_.buckets.size()) return;
  later(process_.world().draw().seconds(0, 0.01), [this, round, next] { start_bucket(round, next); });
}

void ExchangeClient::carry_out(const ps::ClientStep& step) {
  for (const ps::ClientPush& push : step.pushes) send(push);
}

void ExchangeClient::send(const ps::ClientPush& push) {
  ToShard& shard = to(push.shard);
  const auto link = shard.lanes[static_cast<std::size_t>(push.connection)];
  if (!link) return;  // it follows when there is one again
  link->send(push.header, push.control, push.payload);
  if (!shard.cut_after || (*shard.cut_after)-- > 0) return;
  shard.cut_after.reset();
  later(process_.world().draw().seconds(0, 0.3), [weak = std::weak_ptr(link)] {
    if (const auto broken = weak.lock()) broken->cut();
  });
}

}  // namespace tutti::sim
