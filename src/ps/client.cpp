// SPDX-License-Identifier: Apache-2.0
#include "ps/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/bounded_archive.h"
#include "ps/chunk_plan.h"
#include "ps/client_session.h"

namespace tutti::ps {

Result<std::unique_ptr<Client>> Client::connect(Loop& loop, Options options, const Clock& clock, EventSink& events,
                                                Deadline deadline) {
  auto client = std::make_unique<Client>(loop, std::move(options), clock, events);
  const Options& with = client->options_;
  TUTTI_TRY(client->reconnect(with.credentials.self.generation, with.shards, deadline));
  return client;
}

Client::Client(Loop& loop, Options options, const Clock& clock, EventSink& events)
    : loop_(loop),
      options_(std::move(options)),
      clock_(clock),
      events_(events),
      generation_(options_.credentials.self.generation) {}

Client::~Client() {
  if (!session_) return;
  loop_.run([this] { return session_->shut(); }).wait();
  loop_.run([this] { session_.reset(); });
}

Result<> Client::reconnect(std::uint32_t generation, const std::vector<Endpoint>& shards, Deadline deadline) {
  if (session_) loop_.run([this] { return session_->shut(); }).wait();
  TUTTI_TRY(pending_.resume());
  generation_ = generation;
  const auto connections = static_cast<int>(shards.size()) * options_.connections;
  loop_.run([&] {
    const auto before = session_ ? session_->objects() : std::vector<ClientSession::Object>();
    pending_.begin_anew(ClientSession::kConnecting, connections + static_cast<int>(before.size()));
    session_ =
        std::make_shared<ClientSession>(loop_.context(), options_, shards, generation, pending_, clock_, events_);
    for (const ClientSession::Object& object : before) session_->open(object);
    session_->connect(deadline - clock_.now());
  });
  TUTTI_TRY(await_shards(deadline));
  return loop_.run([this] { return session_->go_on(); });
}

Result<> Client::await_shards(Deadline deadline) {
  const auto connected = pending_.wait(ClientSession::kConnecting, deadline);
  if (!connected) return connected.error();
  if (*connected) return {};
  return fail(Errc::kTimeout, "not all of the shards could be reached in time");
}

ObjectTable Client::table_of(std::uint32_t object, std::uint32_t number, std::span<const BucketSpec> specs) const {
  return {object,
          number,
          options_.world_size,
          static_cast<std::int32_t>(options_.shards.size()),
          aligned_chunk_bytes(options_.chunk_bytes),
          {specs.begin(), specs.end()},
          options_.connections};
}

Result<HostBuckets> Client::place(std::uint32_t object, std::uint32_t number, std::span<const BucketSpec> buckets,
                                  Deadline deadline) {
  if (options_.placement.keeper.empty()) return HostBuckets();
  const ObjectTable table = table_of(object, number, buckets);
  TUTTI_TRY(check(table));
  auto placed = host_places(options_.placement, table, clock_, deadline);
  if (!placed) return std::move(placed).error();
  placed_[object] = *placed;
  return placed->buckets;
}

bool Client::is_placed(const Buckets& buckets) const {
  const auto found = placed_.find(buckets.object);
  return found != placed_.end() &&
         std::equal(found->second.buckets.begin(), found->second.buckets.end(), buckets.memory.begin(),
                    buckets.memory.end(),
                    [](const std::shared_ptr<std::byte>& place, const std::byte* at) { return place.get() == at; });
}

Result<> Client::open(Buckets buckets, Deadline deadline) {
  const bool is_shared = is_placed(buckets);
  const OpenRequest request{table_of(buckets.object, buckets.number, buckets.specs),
                            is_shared ? options_.placement : Placement{}};
  TUTTI_TRY(check(request.table));
  TUTTI_TRY(check(request.placement));
  const std::uint32_t object = request.table.object;
  if (encode(request).size() > kControlBytesMax) {
    return fail(Errc::kUsage,
                fmt::format("object {} has {} buckets: too many for one table", object, request.table.buckets.size()));
  }
  close(object);
  TUTTI_TRY(pending_.begin(object));
  ClientSession::Object opened{request, std::move(buckets.memory), {}, {}};
  if (is_shared) opened.journal = placed_.at(object).journal;
  loop_.post([session = session_, opened = std::move(opened)]() mutable { session->open(std::move(opened)); });
  return await(object, object, deadline);
}

Result<> Client::start(std::uint32_t object, const Round& round, std::uint32_t bucket, bool has_result) {
  TUTTI_TRY(pending_.begin_both(object, ClientSession::key_of(object, bucket)));
  const int rank = options_.credentials.self.rank;
  events_.record({clock_.now(), EventKind::kBucketReady, rank, generation_, round.step, object, bucket, 0});
  const ChunkState holds = has_result ? ChunkState::kResult : ChunkState::kInput;
  loop_.post([session = session_, object, round, bucket, holds] { session->start(object, round, bucket, holds); });
  return {};
}

Result<> Client::poll() const {
  return pending_.poll();
}

Result<> Client::wait(std::uint32_t object, std::uint32_t bucket, Deadline deadline) {
  return await(ClientSession::key_of(object, bucket), object, deadline);
}

Result<> Client::finish(std::uint32_t object, Deadline deadline) {
  TUTTI_TRY(await(object, object, deadline));
  loop_.post([session = session_, object] { session->end_round(object); });
  return {};
}

std::vector<NotFiniteResultElement> Client::not_finite(std::uint32_t object) const {
  if (!session_->has_not_finite()) return {};
  return loop_.run([&] { return session_->not_finite(object); });
}

// The shard is asked who is missing while a quarter of the time is left, so that the message of a timeout can name the
// guilty rank without waiting beyond the deadline.
Result<> Client::await(Pending::Key key, std::uint32_t object, Deadline deadline) {
  const Duration left = deadline - clock_.now();
  auto done = pending_.wait(key, deadline - left / 4);
  if (done.has_value() && !*done) {
    loop_.post([session = session_, object] { session->ask(object); });
    done = pending_.wait(key, deadline);
  }
  if (!done) return done.error();
  if (*done) return {};
  const Failure late = fail(Errc::kTimeout, "the parameter server did not answer in time: " + pending_.note(object));
  pending_.fail(late);
  return late;
}

void Client::close(std::uint32_t object) {
  if (session_) loop_.run([&] { return session_->close(object); }).wait();
}

void Client::abort(const Failure& cause) noexcept {
  pending_.fail(cause);
}

}  // namespace tutti::ps
