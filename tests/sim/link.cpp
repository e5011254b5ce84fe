// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/link.h"

#include <algorithm>
#include <cstring>

#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr Duration kHandshakeTimeout = std::chrono::seconds(5);

}  // namespace

std::shared_ptr<Link> Link::connect(Process& owner, Port to, const PeerIdentity& self, Duration timeout,
                                    LinkSink& sink) {
  std::shared_ptr<Link> link(new Link(owner, sink));
  link->client_.emplace(owner.job().secret, owner.job().id, self, owner.world().nonce());
  link->give_up_after(timeout);
  owner.world().network().connect(owner, to, link);
  return link;
}

std::shared_ptr<Link> Link::accept(Process& owner, Network::End end, LinkSink& sink) {
  std::shared_ptr<Link> link(new Link(owner, sink));
  link->server_.emplace(owner.job().secret, owner.job().id, owner.world().nonce());
  link->end_ = end;
  link->state_ = State::kHandshake;
  link->give_up_after(kHandshakeTimeout);
  link->carry_out(link->server_->start());
  return link;
}

void Link::give_up_after(Duration timeout) {
  owner_.after(timeout, [weak = weak_from_this()] {
    const auto link = weak.lock();
    if (link && link->state_ < State::kHeader) link->fail_with(fail(Errc::kTimeout, "no proof in time"));
  });
}

void Link::on_connected(Network::End end) {
  if (state_ != State::kConnecting) return;
  end_ = end;
  state_ = State::kHandshake;
  carry_out(client_->start());
}

void Link::carry_out(const HandshakeAction& action) {
  write(action.send);
  if (action.failure) return fail_with(*action.failure);
  if (action.kind != HandshakeAction::Kind::kDone) return await(action.need_bytes);
  state_ = State::kHeader;
  await(kFrameHeaderBytes);
  sink_.on_open(*this);
}

void Link::write(std::vector<std::byte> bytes) {
  if (bytes.empty() || owner_.is_dead() || end_.pipe == 0) return;
  owner_.world().network().send(end_, std::move(bytes));
}

void Link::send(FrameHeader header, const std::string& control, std::span<const std::byte> payload) {
  if (!is_open() || owner_.is_dead()) return;
  header.control_bytes = static_cast<std::uint32_t>(control.size());
  header.payload_bytes = payload.size();
  const auto control_bytes = std::as_bytes(std::span(control));
  header.crc = checksum(header, control_bytes, payload);
  const FrameHeaderBytes head = encode(header);
  std::vector<std::byte> bytes(head.begin(), head.end());
  bytes.insert(bytes.end(), control_bytes.begin(), control_bytes.end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  write(std::move(bytes));
  owner_.world().acted(owner_);
}

void Link::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  place_ = {};
  if (end_.pipe != 0 && !owner_.is_dead()) owner_.world().network().close(end_);
}

void Link::cut() {
  if (state_ != State::kClosed && end_.pipe != 0) owner_.world().network().cut(end_);
}

void Link::fail_with(const Failure& why) {
  if (state_ == State::kClosed) return;
  const auto keep = shared_from_this();
  close();
  if (!owner_.is_dead()) sink_.on_closed(*this, why);
}

void Link::on_cut(const Failure& why) {
  fail_with(why);
}

void Link::await(std::size_t bytes) {
  part_.clear();
  needed_ = bytes;
}

void Link::on_bytes(std::span<const std::byte> bytes) {
  const auto keep = shared_from_this();
  while (!bytes.empty() && state_ != State::kClosed && !owner_.is_dead()) {
    const bool is_payload = !place_.empty();
    const std::size_t wanted = is_payload ? place_.size() - placed_ : needed_ - part_.size();
    const std::size_t size = std::min(wanted, bytes.size());
    if (is_payload) {
      std::memcpy(place_.data() + placed_, bytes.data(), size);
      placed_ += size;
    } else {
      part_.insert(part_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    }
    bytes = bytes.subspan(size);
    if (size == wanted) is_payload ? deliver() : on_part();
  }
}

void Link::on_part() {
  const std::vector<std::byte> part = std::move(part_);
  if (state_ == State::kHandshake) return carry_out(client_ ? client_->feed(part) : server_->feed(part));
  if (state_ == State::kRest) {
    control_ = part;
    return on_control();
  }
  FrameHeaderBytes head;
  std::ranges::copy(part, head.begin());
  auto header = decode_header(head);
  if (!header) return fail_with(header.error());
  header_ = *header;
  state_ = State::kRest;
  control_.clear();
  if (header_.control_bytes == 0) return on_control();
  await(header_.control_bytes);
}

void Link::on_control() {
  if (header_.payload_bytes == 0) return deliver();
  const auto place = sink_.payload_place(*this, header_, control_);
  if (!place) return fail_with(place.error());
  if (place->size() != header_.payload_bytes) return fail_with(fail(Errc::kProtocol, "a payload of another length"));
  place_ = *place;
  placed_ = 0;
}

void Link::deliver() {
  const std::span<std::byte> payload = std::exchange(place_, {});
  state_ = State::kHeader;
  await(kFrameHeaderBytes);
  if (checksum(header_, control_, payload) != header_.crc)
    return fail_with(fail(Errc::kProtocol, "a frame whose checksum does not hold"));
  owner_.world().acted(owner_);
  if (owner_.is_dead()) return;
  const auto taken = sink_.on_frame(*this, header_, control_);
  if (!taken) fail_with(taken.error());
}

}  // namespace tutti::sim
