// SPDX-License-Identifier: Apache-2.0
#include "ps/client_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/assert.h"
#include "common/bounded_archive.h"
#include "common/net/later.h"

namespace tutti::ps {

namespace {

// Between two tries to reach a shard again.
constexpr auto kPause = std::chrono::milliseconds(50);
constexpr auto kPatience = std::chrono::seconds(2);

bool may_pass(Errc code) {
  return code == Errc::kUnavailable || code == Errc::kTimeout || code == Errc::kPeerLost;
}

bool is_result(const FrameHeader& header) {
  return header.type == FrameType::kResult && (header.flags == 0 || header.flags == kNotFinite);
}

Credentials at(Credentials credentials, std::uint32_t generation) {
  credentials.self.generation = generation;
  return credentials;
}

}  // namespace

ClientSession::ClientSession(boost::asio::io_context& context, const Client::Options& options,
                             const std::vector<Endpoint>& shards, std::uint32_t generation, Pending& pending,
                             const Clock& clock, EventSink& events)
    : context_(context),
      credentials_(at(options.credentials, generation)),
      outlives_losses_(options.outlives_losses),
      timeout_(options.outlives_losses ? options.timeout : Duration::zero()),
      meter_(options.meter),
      clock_(clock),
      events_(events),
      pending_(pending),
      reach_(std::make_shared<Reach>(context, clock, timeout_, options.tell_unreachable)) {
  reach_->begin_generation(generation);
  const auto connections = static_cast<std::size_t>(options.connections);
  for (const Endpoint& shard : shards) {
    links_.push_back({shard, std::vector<std::shared_ptr<Connection>>(connections)});
  }
}

// One after the other: by the first the shard knows that the rank has come again, and drops whatever it had of it.
void ClientSession::connect(Duration timeout) {
  patience_ = outlives_losses_ ? kPatience : timeout;
  for (int shard = 0; shard < static_cast<int>(links_.size()); ++shard) {
    reach_->lost({Role::kServer, shard}, clock_.now());
    connect(shard, 0);
  }
}

void ClientSession::connect(int shard, std::uint8_t number) {
  Credentials credentials = credentials_;
  credentials.self.connection = number;
  tutti::connect(context_, link(shard).endpoint, std::move(credentials), patience_,
                 [weak = weak_from_this(), shard, number](Result<std::shared_ptr<Connection>> connected) {
                   if (const auto self = weak.lock()) self->on_connected(shard, number, std::move(connected));
                 });
}

void ClientSession::on_connected(int shard, std::uint8_t number, Result<std::shared_ptr<Connection>> connected) {
  if (live_.is_ending()) return;
  if (!connected) {
    if (outlives_losses_ && may_pass(connected.error().code)) return connect_later(shard, number);
    return pending_.fail(std::move(connected).error().wrap(name_of_shard(shard) + " cannot be reached"));
  }
  Link& to = link(shard);
  to.connections[number] = std::move(*connected);
  live_.opened();
  to.connections[number]->measure(meter_);
  to.connections[number]->keep_alive(timeout_, KeepAlive::Sign::kBytes);
  to.connections[number]->start(*this);
  push_again(shard, number);
  find_reached(shard);
  if (number < to.reached) return;
  pending_.end(kConnecting);
  if (++to.reached < to.connections.size()) connect(shard, static_cast<std::uint8_t>(to.reached));
}

void ClientSession::find_reached(int shard) {
  const auto& connections = link(shard).connections;
  const auto is_there = [](const auto& connection) { return connection != nullptr; };
  if (std::ranges::all_of(connections, is_there)) reach_->found({Role::kServer, shard});
}

// The shard, too, may be gone, or about to be: the tries end with this session, and every wait has its deadline.
void ClientSession::connect_later(int shard, std::uint8_t number) {
  later(context_, kPause, [weak = weak_from_this(), shard, number] {
    const auto self = weak.lock();
    if (self && !self->live_.is_ending()) self->connect(shard, number);
  });
}

void ClientSession::push_again(int shard, std::uint8_t number) {
  for (const auto& [object, opened] : opened_) {
    if (number == 0 && !opened.machine.is_open()) send_table(opened, shard);
    for (const ClientPush& push : opened.machine.push_again(shard, number)) send(push);
  }
}

void ClientSession::open(Object object) {
  const std::uint32_t number = object.request.table.object;
  const ClientWays ways{!object.request.placement.keeper.empty(), outlives_losses_};
  ClientFsm machine(object.request.table, object.memory, credentials_.self.rank, credentials_.self.generation, ways);
  const bool is_new = object.generation == 0;
  if (!is_new) machine.take_over(object.standing);
  if (!object.standing.not_finite.empty()) has_not_finite_ = true;
  const auto [placed, inserted] = opened_.try_emplace(number, std::move(object), std::move(machine), is_new);
  TUTTI_ASSERT(inserted, "an object is closed before it is opened again");
  for (int shard = 0; shard < static_cast<int>(links_.size()); ++shard) send_table(placed->second, shard);
}

void ClientSession::send_table(const OpenObject& opened, int shard) {
  const auto& first = link(shard).connections.front();
  if (first) first->send(opened.machine.header(FrameType::kOpen, 0), encode(opened.object.request));
}

Result<> ClientSession::go_on() {
  for (auto& [number, opened] : opened_) {
    if (!opened.goes_on) TUTTI_TRY(go_on(number, opened));
  }
  return {};
}

// Buckets that were done are waited for once more: until everybody has pushed them to the shards as they are now.
Result<> ClientSession::go_on(std::uint32_t object, OpenObject& opened) {
  look_up_results(opened);
  for (const std::uint32_t bucket : opened.machine.started()) {
    const Pending::Key key = key_of(object, bucket);
    if (!pending_.is_under_way(key)) TUTTI_TRY(pending_.begin_both(object, key));
  }
  opened.goes_on = true;
  carry_out(opened.machine, opened.machine.go_on());
  return {};
}

// Every shard has taken up this generation, or is a new one: what the older ones did in the buckets, they have done.
void ClientSession::look_up_results(OpenObject& opened) const {
  const Object& before = opened.object;
  ClientFsm& machine = opened.machine;
  if (!before.journal) return;
  const std::uint64_t stamp = stamp_of(before.generation, machine.round());
  for (std::uint32_t c = 0; c < machine.chunk_count(); ++c) {
    const int shard = machine.shard_of(c);
    const bool is_input = machine.standing().chunks[c] == ChunkState::kInput;
    if (!is_input || !before.in_place[static_cast<std::size_t>(shard)]) continue;
    const Chunk& chunk = machine.chunk(c);
    std::byte* const place = before.memory[chunk.bucket] + chunk.offset_bytes;
    machine.found_result(c, before.journal->recover(shard, chunk, stamp, place));
  }
}

std::vector<ClientSession::Object> ClientSession::objects() const {
  std::vector<Object> objects;
  for (const auto& [number, opened] : opened_) {
    Object& object = objects.emplace_back(opened.object);
    if (!opened.goes_on) continue;
    object.standing = opened.machine.standing();
    object.generation = credentials_.self.generation;
    object.in_place.clear();
    for (int shard = 0; shard < static_cast<int>(links_.size()); ++shard)
      object.in_place.push_back(opened.machine.is_in_place(shard));
  }
  return objects;
}

void ClientSession::start(std::uint32_t object, const Round& round, std::uint32_t bucket, ChunkState holds) {
  ClientFsm* started = machine(object);
  const Result<> failed = pending_.poll();
  // What was started before the end of a generation was heard of is started in the next one.
  if (started == nullptr || (!failed && failed.error().code != Errc::kSuperseded)) return;
  auto step = started->start(round, bucket, holds);
  if (!step) return pending_.fail(step.error());
  carry_out(*started, *step);
}

void ClientSession::end_round(std::uint32_t object) {
  if (ClientFsm* ended = machine(object)) ended->end_round();
}

std::vector<NotFiniteResultElement> ClientSession::not_finite(std::uint32_t object) {
  const ClientFsm* asked = machine(object);
  return asked == nullptr ? std::vector<NotFiniteResultElement>() : asked->not_finite();
}

// A result that has come says that its input was read to the end. Where one is missing, a connection may be reading
// from the bucket or writing to it until it has closed.
std::shared_future<void> ClientSession::close(std::uint32_t object) {
  const auto found = opened_.find(object);
  const bool is_idle = found == opened_.end() || found->second.machine.finished();
  if (found != opened_.end()) opened_.erase(found);
  if (!is_idle) {
    pending_.fail(fail(Errc::kCancelled, fmt::format("object {} was closed before its exchange was done", object)));
    return shut();
  }
  std::promise<void> at_once;
  at_once.set_value();
  return at_once.get_future().share();
}

std::shared_future<void> ClientSession::shut() {
  reach_->end();
  for (const Link& link : links_) {
    for (const auto& connection : link.connections) {
      if (connection) connection->close(true);
    }
  }
  return live_.ending();
}

Result<std::span<std::byte>> ClientSession::payload_place(Connection& from, const FrameHeader& header,
                                                          std::span<const std::byte>) {
  ClientFsm* receiver = machine(header.object);
  if (!is_result(header) || receiver == nullptr) {
    return fail(Errc::kProtocol, "a payload was sent that no client expects");
  }
  record(EventKind::kResultArriving, header, header.chunk, header.payload_bytes);
  return receiver->place(shard_of(from), header);
}

Result<> ClientSession::on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                                 std::span<std::byte>) {
  const int shard = shard_of(from);
  if (header.type == FrameType::kOpened) return on_opened(shard, header.object, control);
  if (is_result(header)) return on_result(shard, header, control);
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
  if (opening->is_open()) pending_.end(find(object)->goes_on ? Pending::Key{object} : kConnecting);
  return {};
}

Result<> ClientSession::on_result(int shard, const FrameHeader& header, std::span<const std::byte> control) {
  ClientFsm* receiver = machine(header.object);
  if (receiver == nullptr)
    return fail(Errc::kProtocol, fmt::format("a result of object {}, which is not open", header.object));
  auto not_finite = not_finite_of(header, control);
  if (!not_finite) return not_finite.error();
  if (!not_finite->empty()) has_not_finite_ = true;
  auto step = receiver->result(shard, header, std::move(*not_finite));
  if (!step) return step.error();
  record(EventKind::kChunkReceived, header, header.chunk, header.payload_bytes);
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
  record(EventKind::kPushStarted, push.header, push.header.chunk, push.payload.size());
  connection->send(push.header, push.control, push.payload, sent);
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
  if (!live_.is_ending() && !outlives_losses_) pending_.fail(Failure(why).wrap(describe_loss(shard)));
  auto& connections = link(shard).connections;
  for (std::size_t number = 0; number < connections.size(); ++number) {
    if (connections[number].get() != &connection) continue;
    connections[number].reset();
    if (!live_.is_ending()) reach_->lost({Role::kServer, shard}, clock_.now() - connection.silent());
    if (outlives_losses_ && !live_.is_ending()) connect_later(shard, static_cast<std::uint8_t>(number));
  }
  live_.closed();
}

ClientSession::OpenObject* ClientSession::find(std::uint32_t object) {
  const auto found = opened_.find(object);
  return found == opened_.end() ? nullptr : &found->second;
}

ClientFsm* ClientSession::machine(std::uint32_t object) {
  OpenObject* opened = find(object);
  return opened == nullptr ? nullptr : &opened->machine;
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
  for (const auto& [object, opened] : opened_) {
    if (const auto wait = opened.machine.waits_for(shard)) {
      return fmt::format("{} was lost at {}, bucket {}", name, describe(opened.machine.round()), wait->bucket);
    }
  }
  return name + " was lost";
}

void ClientSession::record(EventKind kind, const FrameHeader& header, std::uint32_t bucket_or_chunk,
                           std::uint64_t bytes) {
  events_.record({clock_.now(), kind, credentials_.self.rank, header.generation, header.step, header.object,
                  bucket_or_chunk, bytes, header.exchange});
}

}  // namespace tutti::ps
