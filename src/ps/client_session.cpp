// SPDX-License-Identifier: Apache-2.0
#include "ps/client_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/assert.h"
#include "common/bounded_archive.h"

namespace tutti::ps {

ClientSession::ClientSession(const Client::Options& options, const Clock& clock, EventSink& events)
    : credentials_(options.credentials), meter_(options.meter), clock_(clock), events_(events) {
  const auto connections = static_cast<std::size_t>(options.connections);
  for (const Endpoint& shard : options.shards) {
    links_.push_back({shard, std::vector<std::shared_ptr<Connection>>(connections)});
  }
}

void ClientSession::connect(boost::asio::io_context& context, Duration timeout) {
  const Deadline deadline = clock_.now() + timeout;
  for (int shard = 0; shard < static_cast<int>(links_.size()); ++shard) connect(context, shard, 0, deadline);
}

// One after the other: by the first the shard knows that the rank has come again, and drops whatever it had of it.
void ClientSession::connect(boost::asio::io_context& context, int shard, std::uint8_t number, Deadline deadline) {
  Credentials credentials = credentials_;
  credentials.self.connection = number;
  tutti::connect(
      context, link(shard).endpoint, std::move(credentials), deadline - clock_.now(),
      [self = shared_from_this(), &context, shard, number, deadline](Result<std::shared_ptr<Connection>> connected) {
        const bool is_attached = self->attach(shard, number, std::move(connected));
        const auto next = static_cast<std::uint8_t>(number + 1);
        if (is_attached && next < self->link(shard).connections.size()) self->connect(context, shard, next, deadline);
      });
}

bool ClientSession::attach(int shard, std::uint8_t number, Result<std::shared_ptr<Connection>> connected) {
  if (live_.is_ending()) return false;
  if (!connected) {
    pending_.fail(std::move(connected).error().wrap(name_of_shard(shard) + " cannot be reached"));
    return false;
  }
  std::shared_ptr<Connection>& connection = link(shard).connections[number];
  connection = std::move(*connected);
  live_.opened();
  connection->measure(meter_);
  connection->start(*this);
  pending_.end(kConnecting);
  return true;
}

void ClientSession::open(OpenRequest request, std::vector<std::byte*> memory) {
  const std::string control = encode(request);
  const std::uint32_t object = request.table.object;
  const bool is_shared = !request.placement.keeper.empty();
  const auto placed = machines_.try_emplace(object, std::move(request.table), std::move(memory), credentials_.self.rank,
                                            credentials_.self.generation, is_shared);
  const FrameHeader header = placed.first->second.header(FrameType::kOpen, 0);
  for (const Link& link : links_) {
    if (const auto& first = link.connections.front()) first->send(header, control);
  }
}

void ClientSession::start(std::uint32_t object, const Round& round, std::uint32_t bucket) {
  ClientFsm* started = machine(object);
  if (pending_.poll().has_error() || started == nullptr) return;
  auto step = started->start(round, bucket);
  if (!step) return pending_.fail(step.error());
  carry_out(*started, *step);
}

// A result that has come says that its input was read to the end. Where one is missing, a connection may be reading
// from the bucket or writing to it until it has closed.
std::shared_future<void> ClientSession::close(std::uint32_t object) {
  const auto found = machines_.find(object);
  const bool is_idle = found == machines_.end() || found->second.finished();
  if (found != machines_.end()) machines_.erase(found);
  if (!is_idle) {
    pending_.fail(fail(Errc::kCancelled, fmt::format("object {} was closed before its exchange was done", object)));
    return shut();
  }
  std::promise<void> at_once;
  at_once.set_value();
  return at_once.get_future().share();
}

std::shared_future<void> ClientSession::shut() {
  for (const Link& link : links_) {
    for (const auto& connection : link.connections) {
      if (connection) connection->close(true);
    }
  }
  return live_.ending();
}

Result<std::span<std::byte>> ClientSession::payload_place(Connection& from, const FrameHeader& header,
                                                          std::span<const std::byte>) {
  const ClientFsm* receiver = machine(header.object);
  if (header.type != FrameType::kResult || header.flags != 0 || receiver == nullptr) {
    return fail(Errc::kProtocol, "a payload was sent that no client expects");
  }
  return receiver->place(shard_of(from), header);
}

Result<> ClientSession::on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                                 std::span<std::byte>) {
  const int shard = shard_of(from);
  if (header.type == FrameType::kOpened) return on_opened(shard, header.object, control);
  if (header.type == FrameType::kResult && header.flags == 0) return on_result(shard, header);
  if (header.type == FrameType::kResult && header.flags == kQuestion) return on_answer(shard, header, control);
  return fail(Errc::kProtocol, "a frame was sent that no client expects");
}

Result<> ClientSession::on_opened(int shard, std::uint32_t object, std::span<const std::byte> control) {
  auto answer = decode<Opened>(control);
  if (!answer) return answer.error();
  ClientFsm* opening = machine(object);
  if (opening == nullptr || opening->is_open()) return {};
  auto opened = opening->opened(shard, *answer);
  if (!opened) pending_.fail(std::move(opened).error().wrap(name_of_shard(shard) + " refused"));
  if (opening->is_open()) pending_.end(object);
  return {};
}

Result<> ClientSession::on_result(int shard, const FrameHeader& header) {
  ClientFsm* receiver = machine(header.object);
  if (receiver == nullptr)
    return fail(Errc::kProtocol, fmt::format("a result of object {}, which is not open", header.object));
  auto step = receiver->result(shard, header);
  if (!step) return step.error();
  record(EventKind::kChunkReceived, header, header.chunk, receiver->chunk(header.chunk).bytes);
  carry_out(*receiver, *step);
  return {};
}

void ClientSession::carry_out(const ClientFsm& machine, const ClientStep& step) {
  for (const ClientPush& push : step.pushes) send(push);
  if (!step.bucket_done) return;
  const std::uint32_t bucket = *step.bucket_done;
  record(EventKind::kBucketDone, machine.header(FrameType::kResult, 0), bucket,
         machine.table().buckets[bucket].bytes());
  pending_.end(key_of(machine.table().object, bucket));
  pending_.end(machine.table().object);
}

void ClientSession::send(const ClientPush& push) {
  const auto& connection = link(push.shard).connections[static_cast<std::size_t>(push.connection)];
  if (!connection) return;  // its loss has ended every wait
  const auto sent = [weak = weak_from_this(), header = push.header](bool ok) {
    const auto self = weak.lock();
    if (ok && self) self->record(EventKind::kChunkSent, header, header.chunk, header.payload_bytes);
  };
  connection->send(push.header, {}, push.payload, sent);
}

void ClientSession::ask(std::uint32_t object) {
  ClientFsm* asking = machine(object);
  if (asking == nullptr) return;
  if (const auto silent = asking->first_not_open()) {
    return pending_.set_note(
        object, fmt::format("{} has not answered to the table of object {}", name_of_shard(*silent), object));
  }
  const auto wait = asking->waits_for();
  if (!wait) return;
  pending_.set_note(
      object, fmt::format("{}: bucket {} waits for chunk {} from {}, which does not answer", describe(asking->round()),
                          wait->bucket, wait->chunk, name_of_shard(wait->shard)));
  FrameHeader question = asking->header(FrameType::kPush, wait->chunk);
  question.flags = kQuestion;
  if (const auto& first = link(wait->shard).connections.front()) first->send(question, {});
}

Result<> ClientSession::on_answer(int shard, const FrameHeader& header, std::span<const std::byte> control) {
  auto missing = decode<Missing>(control);
  if (!missing) return missing.error();
  const ClientFsm* asked = machine(header.object);
  if (asked == nullptr || round_of(header) != asked->round() || header.chunk >= asked->chunk_count()) return {};
  const std::string whom = missing->ranks.empty() ? "its result, which is on its way" : describe_ranks(missing->ranks);
  pending_.set_note(header.object,
                    fmt::format("{}: bucket {}, chunk {} at {} waits for {}", describe(asked->round()),
                                asked->chunk(header.chunk).bucket, header.chunk, name_of_shard(shard), whom));
  return {};
}

void ClientSession::on_closed(Connection& connection, const Failure& why) {
  const int shard = shard_of(connection);
  if (!live_.is_ending()) pending_.fail(Failure(why).wrap(describe_loss(shard)));
  for (auto& of_shard : link(shard).connections) {
    if (of_shard.get() == &connection) of_shard.reset();
  }
  live_.closed();
}

ClientFsm* ClientSession::machine(std::uint32_t object) {
  const auto found = machines_.find(object);
  return found == machines_.end() ? nullptr : &found->second;
}

int ClientSession::shard_of(const Connection& connection) const {
  const auto is_this = [&](const std::shared_ptr<Connection>& other) { return other.get() == &connection; };
  const auto found = std::find_if(links_.begin(), links_.end(), [&](const Link& link) {
    return std::any_of(link.connections.begin(), link.connections.end(), is_this);
  });
  TUTTI_ASSERT(found != links_.end(), "a connection belongs to a shard until it is closed");
  return static_cast<int>(found - links_.begin());
}

std::string ClientSession::name_of_shard(int shard) {
  return fmt::format("shard {} at {}", shard, link(shard).endpoint.text());
}

std::string ClientSession::describe_loss(int shard) {
  const std::string name = name_of_shard(shard);
  for (const auto& [object, machine] : machines_) {
    if (const auto wait = machine.waits_for(shard)) {
      return fmt::format("{} was lost at {}, bucket {}", name, describe(machine.round()), wait->bucket);
    }
  }
  return name + " was lost";
}

void ClientSession::record(EventKind kind, const FrameHeader& header, std::uint32_t bucket_or_chunk,
                           std::uint64_t bytes) {
  events_.record({clock_.now(), kind, credentials_.self.rank, header.generation, header.step, header.object,
                  bucket_or_chunk, bytes});
}

}  // namespace tutti::ps
