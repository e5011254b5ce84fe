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
  const auto shards = static_cast<int>(options.shards.size());
  const int connections = shards * options.connections;
  std::unique_ptr<Client> client(new Client(loop, std::move(options), clock, events));
  ClientSession& session = *client->session_;
  TUTTI_TRY(session.pending().begin(ClientSession::kConnecting, connections));
  loop.run([&] { session.connect(loop.context(), deadline - clock.now()); });
  const auto connected = session.pending().wait(ClientSession::kConnecting, deadline);
  if (!connected) return connected.error();
  if (!*connected)
    return fail(Errc::kTimeout, fmt::format("not all of the {} shards could be reached in time", shards));
  return client;
}

Client::Client(Loop& loop, Options options, const Clock& clock, EventSink& events)
    : loop_(loop),
      options_(std::move(options)),
      clock_(clock),
      events_(events),
      session_(std::make_shared<ClientSession>(options_, clock, events)) {}

Client::~Client() {
  loop_.run([this] { return session_->shut(); }).wait();
  loop_.run([this] { session_.reset(); });
}

Result<HostBuckets> Client::place(std::uint32_t object, std::uint32_t number, std::span<const BucketSpec> buckets,
                                  Deadline deadline) {
  if (options_.placement.keeper.empty()) return HostBuckets();
  auto placed = host_buckets(options_.placement, object, number, buckets, clock_, deadline);
  if (placed) placed_[object] = *placed;
  return placed;
}

bool Client::is_placed(const Buckets& buckets) const {
  const auto found = placed_.find(buckets.object);
  return found != placed_.end() &&
         std::equal(found->second.begin(), found->second.end(), buckets.memory.begin(), buckets.memory.end(),
                    [](const std::shared_ptr<std::byte>& place, const std::byte* at) { return place.get() == at; });
}

Result<> Client::open(Buckets buckets, Deadline deadline) {
  OpenRequest request{{}, is_placed(buckets) ? options_.placement : Placement{}};
  request.table = {buckets.object,
                   buckets.number,
                   options_.world_size,
                   static_cast<std::int32_t>(options_.shards.size()),
                   aligned_chunk_bytes(options_.chunk_bytes),
                   std::move(buckets.specs),
                   options_.connections};
  TUTTI_TRY(check(request.table));
  TUTTI_TRY(check(request.placement));
  const std::uint32_t object = request.table.object;
  if (encode(request).size() > kControlBytesMax) {
    return fail(Errc::kUsage,
                fmt::format("object {} has {} buckets: too many for one table", object, request.table.buckets.size()));
  }
  close(object);
  TUTTI_TRY(session_->pending().begin(object));
  loop_.post([session = session_, request = std::move(request), memory = std::move(buckets.memory)]() mutable {
    session->open(std::move(request), std::move(memory));
  });
  return await(object, object, deadline);
}

Result<> Client::start(std::uint32_t object, const Round& round, std::uint32_t bucket) {
  TUTTI_TRY(session_->pending().begin(object));
  TUTTI_TRY(session_->pending().begin(ClientSession::key_of(object, bucket)));
  const PeerIdentity& self = options_.credentials.self;
  events_.record({clock_.now(), EventKind::kBucketReady, self.rank, self.generation, round.step, object, bucket, 0});
  loop_.post([session = session_, object, round, bucket] { session->start(object, round, bucket); });
  return {};
}

Result<> Client::poll() const {
  return session_->pending().poll();
}

Result<> Client::wait(std::uint32_t object, std::uint32_t bucket, Deadline deadline) {
  return await(ClientSession::key_of(object, bucket), object, deadline);
}

Result<> Client::finish(std::uint32_t object, Deadline deadline) {
  return await(object, object, deadline);
}

// The shard is asked who is missing while a quarter of the time is left, so that the message of a timeout can name the
// guilty rank without waiting beyond the deadline.
Result<> Client::await(Pending::Key key, std::uint32_t object, Deadline deadline) {
  Pending& pending = session_->pending();
  const Duration left = deadline - clock_.now();
  auto done = pending.wait(key, deadline - left / 4);
  if (done.has_value() && !*done) {
    loop_.post([session = session_, object] { session->ask(object); });
    done = pending.wait(key, deadline);
  }
  if (!done) return done.error();
  if (*done) return {};
  const Failure late = fail(Errc::kTimeout, "the parameter server did not answer in time: " + pending.note(object));
  pending.fail(late);
  return late;
}

void Client::close(std::uint32_t object) {
  loop_.run([&] { return session_->close(object); }).wait();
}

void Client::abort(const Failure& cause) noexcept {
  session_->pending().fail(cause);
}

}  // namespace tutti::ps
