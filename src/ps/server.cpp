// SPDX-License-Identifier: Apache-2.0
#include "ps/server.h"

#include <algorithm>
#include <future>
#include <utility>
#include <vector>

#include "common/bounded_archive.h"
#include "common/crc32c.h"
#include "ps/live_connections.h"

namespace tutti::ps {

namespace {
// The keeper of this host has made the memory already when a rank says that its buckets lie there.
constexpr auto kShareTimeout = std::chrono::seconds(2);

bool is_push(const FrameHeader& header) {
  return header.type == FrameType::kPush &&
         (header.flags == 0 || header.flags == kHasResult || header.flags == kHasRanges);
}
}  // namespace

/// What of a server lives on the loop.
class Server::Session final : public FrameSink, public std::enable_shared_from_this<Session> {
 public:
  Session(boost::asio::io_context& context, const Options& options, const Clock& clock, EventSink& events, Logger log)
      : shard_(options.shard),
        timeout_(options.timeout),
        keeper_(options.keeper),
        meter_(options.meter),
        sum_threads_(options.sum_helpers),
        machine_(shard_, {&sum_threads_, meter_}),
        clock_(clock),
        events_(events),
        log_(std::move(log)),
        generation_(shard_.generation),
        ranks_(static_cast<std::size_t>(shard_.world_size)),
        reach_(std::make_shared<Reach>(context, clock, timeout_, options.tell_unreachable)) {
    reach_->begin_generation(generation_);
  }

  Result<Endpoint> listen(boost::asio::io_context& context, const Options& options);
  std::shared_future<void> shut();
  std::size_t buffer_bytes() const;

  Result<std::span<std::byte>> payload_place(Connection& from, const FrameHeader& header,
                                             std::span<const std::byte>) override;
  Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override;
  void on_closed(Connection& connection, const Failure& why) override;

 private:
  struct Lane {                              // one of a rank's connections
    std::shared_ptr<Connection> connection;  // null: none
    std::shared_ptr<Connection> next;        // starts when `connection` has closed
  };
  using Rank = std::vector<Lane>;

  void accept(std::shared_ptr<Connection> connection);
  void leave_generation(std::uint32_t next);
  void begin_generation();
  void start(std::shared_ptr<Connection> connection);
  Rank& rank_of(const Connection& connection) { return ranks_[static_cast<std::size_t>(connection.peer().rank)]; }
  Lane& lane_of(const Connection& connection) { return rank_of(connection)[connection.peer().connection]; }
  Result<> open(Connection& from, const FrameHeader& header, std::span<const std::byte> control);
  Result<Opened> open(int rank, const FrameHeader& header, const OpenRequest& request);
  bool share(int rank, const OpenRequest& request);
  Result<> push(Connection& from, const FrameHeader& header, std::span<const std::byte> control, bool has_payload);
  Result<> answer(Connection& from, const FrameHeader& question);
  void send(std::vector<ShardSend> results);
  void record(EventKind kind, int rank, const FrameHeader& header, std::uint64_t bytes);

  const ShardOptions shard_;
  const Duration timeout_;
  const std::string keeper_;
  CopyMeter* const meter_;
  SumThreads sum_threads_;
  ShardFsm machine_;
  const Clock& clock_;
  EventSink& events_;
  const Logger log_;
  std::uint32_t
      generation_;  // the newest that a rank came from; the machine follows when nobody of an older one is left
  std::unique_ptr<Acceptor> acceptor_;
  std::vector<Rank> ranks_;
  LiveConnections live_;
  const std::shared_ptr<Reach> reach_;
};

Result<Endpoint> Server::Session::listen(boost::asio::io_context& context, const Options& options) {
  auto acceptor = Acceptor::listen(context, options.listen, options.credentials, clock_, log_,
                                   [weak = weak_from_this()](std::shared_ptr<Connection> connection) {
                                     if (const auto self = weak.lock()) self->accept(std::move(connection));
                                   });
  if (!acceptor) return acceptor.error();
  acceptor_ = std::move(*acceptor);
  return acceptor_->endpoint();
}

void Server::Session::accept(std::shared_ptr<Connection> connection) {
  const PeerIdentity& peer = connection->peer();
  const bool is_rank = peer.role == Role::kWorker && peer.rank >= 0 && peer.rank < shard_.world_size &&
                       peer.connection < kConnectionsMax;
  if (live_.is_ending() || !is_rank || peer.generation < generation_) {
    log_.warning("refused {}: rank {} of generation {} is none of the {} ranks of generation {}",
                 connection->peer_address(), peer.rank, peer.generation, shard_.world_size, generation_);
    return;
  }
  if (peer.generation > generation_) leave_generation(peer.generation);
  reach_->found({Role::kWorker, peer.rank});
  Rank& rank = rank_of(*connection);
  rank.resize(std::max<std::size_t>(rank.size(), peer.connection + 1));
  // The rank has come again: its old connections are dead, whether this side has noticed or not. A rank opens its first
  // connection before the others, so all that it had are told by it. What was being received on one keeps its place
  // until it has closed.
  for (Lane& lane : rank) {
    const bool is_replaced = peer.connection == 0 || &lane == &lane_of(*connection);
    if (is_replaced && lane.connection) lane.connection->close(true);
    if (is_replaced) lane.next.reset();
  }
  Lane& lane = lane_of(*connection);
  const bool may_start = !lane.connection && machine_.generation() == generation_;
  if (may_start) return start(std::move(connection));
  lane.next = std::move(connection);
  begin_generation();
}

// Ranks come from a later generation once all who live on have met in it: nobody waits for what the older one would
// have brought.
void Server::Session::leave_generation(std::uint32_t next) {
  generation_ = next;
  reach_->begin_generation(next);
  for (Rank& rank : ranks_) {
    for (Lane& lane : rank) {
      if (lane.connection) lane.connection->close(true);
      lane.next.reset();
    }
  }
}

// When the last connection of older generations has closed, and with it its hold on the machine's memory.
void Server::Session::begin_generation() {
  const auto is_open = [](const Lane& lane) { return lane.connection != nullptr; };
  const auto has_open = [&](const Rank& rank) { return std::ranges::any_of(rank, is_open); };
  if (machine_.generation() == generation_ || std::ranges::any_of(ranks_, has_open)) return;
  machine_.begin_generation(generation_);
  for (Rank& rank : ranks_) {
    for (Lane& lane : rank) {
      if (lane.next) start(std::exchange(lane.next, nullptr));
    }
  }
}

void Server::Session::start(std::shared_ptr<Connection> connection) {
  Lane& lane = lane_of(*connection);
  lane.connection = std::move(connection);
  live_.opened();
  lane.connection->measure(meter_);
  lane.connection->keep_alive(timeout_, KeepAlive::Sign::kBytes);
  lane.connection->start(*this);
}

Result<std::span<std::byte>> Server::Session::payload_place(Connection& from, const FrameHeader& header,
                                                            std::span<const std::byte> control) {
  if (!is_push(header)) {
    return fail(Errc::kProtocol, "a payload was sent that no shard expects");
  }
  auto known = result_ranges_of(header, control);
  if (!known) return known.error();
  return machine_.place(from.peer().rank, header, from.peer().connection, std::move(*known));
}

Result<> Server::Session::on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                                   std::span<std::byte> payload) {
  if (header.type == FrameType::kOpen) return open(from, header, control);
  if (is_push(header)) return push(from, header, control, !payload.empty());
  if (header.type == FrameType::kPush && header.flags == kQuestion) return answer(from, header);
  return fail(Errc::kProtocol, "a frame was sent that no shard expects");
}

// A refusal is told to the rank, whose own message then names the difference; the connection stays for its other
// objects.
Result<> Server::Session::open(Connection& from, const FrameHeader& header, std::span<const std::byte> control) {
  auto request = decode<OpenRequest>(control);
  if (!request) return request.error();
  const ObjectTable& table = request->table;
  auto opened = open(from.peer().rank, header, *request);
  Opened reply =
      opened ? *opened
             : Opened{table.number, 0, static_cast<std::int32_t>(opened.error().code), opened.error().text(), false};
  if (!opened) log_.warning("{}", reply.why);
  FrameHeader frame = header;
  frame.type = FrameType::kOpened;
  frame.sender = static_cast<std::uint16_t>(shard_.index);
  frame.object = table.object;
  from.send(frame, encode(reply));
  return {};
}

Result<Opened> Server::Session::open(int rank, const FrameHeader& header, const OpenRequest& request) {
  TUTTI_TRY(check(request.placement));
  auto opened = machine_.open(rank, header, request.table);
  if (opened) opened->in_place = share(rank, request);
  return opened;
}

// A rank of another host, or one whose memory cannot be had, sends its chunks through the socket.
bool Server::Session::share(int rank, const OpenRequest& request) {
  const auto& [table, placement] = request;
  if (keeper_.empty() || placement.keeper != keeper_) return false;
  auto places = host_places(placement, table, clock_, clock_.now() + kShareTimeout);
  if (!places) {
    log_.warning("the buckets of rank {} cannot be shared: {}", rank, places.error().text());
    return false;
  }
  machine_.share(rank, table.object, std::move(*places));
  return true;
}

Result<> Server::Session::push(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                               bool has_payload) {
  const int rank = from.peer().rank, connection = from.peer().connection;
  if (!has_payload) TUTTI_TRY(payload_place(from, header, control));
  record(EventKind::kPushArrived, rank, header, header.payload_bytes);
  auto step = machine_.pushed(rank, header, connection);
  if (!step) return step.error();
  if (step->summed) record(EventKind::kChunkSummed, shard_.index, header, step->summed_bytes);
  send(std::move(step->sends));
  return {};
}

Result<> Server::Session::answer(Connection& from, const FrameHeader& question) {
  const auto missing = machine_.answer(from.peer().rank, question);
  if (!missing) return missing.error();
  FrameHeader frame = question;
  frame.type = FrameType::kResult;
  frame.sender = static_cast<std::uint16_t>(shard_.index);
  from.send(frame, encode(*missing));
  return {};
}

// The result of a set is the same for all ranks, and the sum has just written it: one checksum serves them all.
void Server::Session::send(std::vector<ShardSend> results) {
  std::optional<std::uint32_t> crc;
  for (ShardSend& result : results) {
    const Rank& rank = ranks_[static_cast<std::size_t>(result.rank)];
    const auto connection = static_cast<std::size_t>(result.connection);
    if (connection >= rank.size() || !rank[connection].connection)
      continue;  // the machine keeps it for one that comes again
    const std::span<const std::byte> bytes(result.result.get(), result.bytes);
    if (!bytes.empty() && !crc) {
      crc = crc32c(bytes);
      count_pass(meter_, BytePass::kChecked, bytes.data(), bytes.size());
    }
    const std::string control = result.not_finite.empty() ? "" : encode(NotFiniteResult{result.not_finite});
    rank[connection].connection->send(
        result.header, control, bytes, [keep = std::move(result.result)](bool) {}, bytes.empty() ? std::nullopt : crc);
  }
}

void Server::Session::on_closed(Connection& connection, const Failure& why) {
  const int number = connection.peer().rank;
  machine_.lost(number, connection.peer().connection);
  if (why.code == Errc::kProtocol) record(EventKind::kFrameRefused, number, FrameHeader{}, 0);
  Lane& lane = lane_of(connection);
  // One that closes its connection in good order may be done.
  const bool is_missed = why.code == Errc::kTimeout && connection.peer().generation == generation_ && !lane.next;
  if (is_missed) reach_->lost({Role::kWorker, number}, clock_.now() - connection.silent());
  if (!live_.is_ending()) log_.warning("rank {} at {}: {}", number, connection.peer_address(), why.text());
  lane.connection.reset();
  if (!live_.is_ending()) {
    begin_generation();
    if (lane.next && !lane.connection && machine_.generation() == generation_) start(std::exchange(lane.next, nullptr));
  }
  live_.closed();
}

std::shared_future<void> Server::Session::shut() {
  reach_->end();
  if (acceptor_) acceptor_->close();
  acceptor_.reset();
  for (const Rank& rank : ranks_) {
    for (const Lane& lane : rank) {
      if (lane.connection) lane.connection->close(true);
    }
  }
  return live_.ending();
}

std::size_t Server::Session::buffer_bytes() const {
  std::size_t bytes = 0;
  for (std::uint32_t number = 0; number < kObjectsMax; ++number) {
    const ShardObject* object = machine_.object(number);
    if (object != nullptr) bytes += object->memory().allocated() * object->memory().buffer_bytes();
  }
  return bytes;
}

void Server::Session::record(EventKind kind, int rank, const FrameHeader& header, std::uint64_t bytes) {
  events_.record({clock_.now(), kind, rank, machine_.generation(), header.step, header.object, header.chunk, bytes,
                  header.exchange});
}

Result<std::unique_ptr<Server>> Server::start(Loop& loop, Options options, const Clock& clock, EventSink& events,
                                              Logger log) {
  auto session = std::make_shared<Session>(loop.context(), options, clock, events, std::move(log));
  auto endpoint = loop.run([&] { return session->listen(loop.context(), options); });
  if (!endpoint) return endpoint.error();
  return std::unique_ptr<Server>(new Server(loop, std::move(session), *endpoint));
}

Server::Server(Loop& loop, std::shared_ptr<Session> session, Endpoint endpoint)
    : loop_(loop), session_(std::move(session)), endpoint_(std::move(endpoint)) {}

Server::~Server() {
  loop_.run([this] { return session_->shut(); }).wait();
  loop_.run([this] { session_.reset(); });
}

std::size_t Server::buffer_bytes() const {
  return loop_.run([&] { return session_->buffer_bytes(); });
}

}  // namespace tutti::ps
