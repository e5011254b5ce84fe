// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/state_transfer.h"

#include <utility>

#include "tests/sim/world.h"

namespace tutti::sim {

StateDonor::StateDonor(Process& process, std::uint32_t generation, std::set<int> takers, std::uint64_t step,
                       const Buckets& parameters, std::function<void()> done)
    : process_(process),
      generation_(generation),
      takers_(std::move(takers)),
      step_(step),
      parameters_(parameters),
      done_(std::move(done)),
      port_(process.world().new_port()) {
  process_.world().network().listen(process_, port_, [this](Network::End end) {
    links_.push_back(Link::accept(process_, end, *this));
    return links_.back();
  });
}

StateDonor::~StateDonor() {
  process_.world().network().stop_listening(port_);
}

void StateDonor::on_open(Link& link) {
  const PeerIdentity& peer = link.peer();
  if (peer.role != Role::kWorker || peer.generation != generation_ || !takers_.contains(peer.rank)) return link.close();
  FrameHeader header;
  header.type = FrameType::kStatePart;
  header.generation = generation_;
  header.step = step_;
  Bytes all;
  for (const Bytes& bucket : parameters_) all.insert(all.end(), bucket.begin(), bucket.end());
  link.send(header, {}, all);
}

Result<std::span<std::byte>> StateDonor::payload_place(Link&, const FrameHeader&, std::span<const std::byte>) {
  return fail(Errc::kProtocol, "a payload for the donor");
}

Result<> StateDonor::on_frame(Link& link, const FrameHeader& header, std::span<const std::byte>) {
  if (header.type != FrameType::kStateTaken) return fail(Errc::kProtocol, "a frame that no donor expects");
  takers_.erase(link.peer().rank);
  if (takers_.empty()) done_();
  return {};
}

StateReceiver::StateReceiver(Process& process, std::uint32_t generation, Port donor, Done done)
    : process_(process), done_(std::move(done)) {
  const PeerIdentity self{Role::kWorker, process.member().rank, generation, 0};
  link_ = Link::connect(process, donor, self, kTimeout, *this);
}

Result<std::span<std::byte>> StateReceiver::payload_place(Link&, const FrameHeader& header,
                                                          std::span<const std::byte>) {
  const Buckets shape = initial_parameters(process_.world().settings().table);
  std::size_t bytes = 0;
  for (const Bytes& bucket : shape) bytes += bucket.size();
  if (header.type != FrameType::kStatePart || header.payload_bytes != bytes)
    return fail(Errc::kProtocol, "a state of another program");
  received_.resize(bytes);
  return std::span(received_);
}

Result<> StateReceiver::on_frame(Link& link, const FrameHeader& header, std::span<const std::byte>) {
  if (header.type != FrameType::kStatePart) return fail(Errc::kProtocol, "a frame that no receiver expects");
  State state{header.step, initial_parameters(process_.world().settings().table)};
  auto from = received_.cbegin();
  for (Bytes& bucket : state.parameters) {
    const auto end = from + static_cast<std::ptrdiff_t>(bucket.size());
    bucket.assign(from, end);
    from = end;
  }
  FrameHeader taken = header;
  taken.type = FrameType::kStateTaken;
  link.send(taken, {});
  link.close();
  done_(std::move(state));
  return {};
}

void StateReceiver::on_closed(Link&, const Failure& why) {
  done_(Failure(why).wrap("lost the donor"));
}

}  // namespace tutti::sim
