// SPDX-License-Identifier: Apache-2.0
// A connection's reader: a stream of frames says the same in whatever pieces it arrives, and the same as a loop over
// the whole of it. Input: u32 seed of the pieces (odd: checksums are made right first), then the stream.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "common/net/connection.h"
#include "common/net/little_endian.h"
#include "tests/fuzz/target.h"

namespace tutti::fuzz {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kStreamBytesMax = 64 << 10;
constexpr std::uint64_t kPlaceBytesMax = 16 << 10;
constexpr std::size_t kCrcOffset = kFrameHeaderBytes - 4;
/// A control part is made room for as its header claims, within the protocol's bound; the rest is small.
constexpr std::size_t kBlockBytesMax = kControlBytesMax + 1;

/// What a sink is told.
struct Outcome {
  struct Frame {
    FrameHeaderBytes header;
    Bytes control, payload;
    bool operator==(const Frame&) const = default;
  };
  std::vector<Frame> frames;
  Errc end = Errc::kInternal;
  bool ended = false;
  bool operator==(const Outcome&) const = default;
};

Result<std::uint64_t> agreed(const FrameHeader& header) {
  if (header.payload_bytes > kPlaceBytesMax) return fail(Errc::kMismatch, "more than was agreed");
  return header.payload_bytes;
}

class Sink final : public FrameSink {
 public:
  Result<std::span<std::byte>> payload_place(Connection&, const FrameHeader& header,
                                             std::span<const std::byte>) override {
    TUTTI_TRY(agreed(header));
    return std::span(place_).first(header.payload_bytes);
  }
  Result<> on_frame(Connection&, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override {
    outcome.frames.push_back({encode(header), {control.begin(), control.end()}, {payload.begin(), payload.end()}});
    return {};
  }
  void on_closed(Connection&, const Failure& why) override {
    TUTTI_ASSERT(!outcome.ended, "the end is told once");
    outcome.end = why.code;
    outcome.ended = true;
  }

  Outcome outcome;

 private:
  Bytes place_ = Bytes(kPlaceBytesMax);
};

/// The first frame of `stream`; nothing when it is not all there.
struct Cut {
  FrameHeader header;
  std::span<std::byte> bytes, control, payload;
};
Result<Cut> cut_frame(std::span<std::byte> stream) {
  const Failure lost = fail(Errc::kPeerLost, "the stream ends");
  if (stream.size() < kFrameHeaderBytes) return lost;
  auto header = decode_header(stream.first<kFrameHeaderBytes>());
  if (!header) return std::move(header).error();
  const auto body = stream.subspan(kFrameHeaderBytes);
  if (body.size() < header->control_bytes) return lost;
  TUTTI_TRY(agreed(*header));
  if (body.size() - header->control_bytes < header->payload_bytes) return lost;
  const std::size_t body_bytes = header->control_bytes + header->payload_bytes;
  return Cut{*header, stream.first(kFrameHeaderBytes + body_bytes), body.first(header->control_bytes),
             body.subspan(header->control_bytes, header->payload_bytes)};
}

void repair_checksums(std::span<std::byte> stream) {
  for (auto cut = cut_frame(stream); cut; cut = cut_frame(stream)) {
    std::byte* at = stream.data() + kCrcOffset;
    put_little_endian(at, checksum(cut->header, cut->control, cut->payload));
    stream = stream.subspan(cut->bytes.size());
  }
}

Outcome read_at_once(std::span<std::byte> stream) {
  Outcome outcome;
  outcome.ended = true;
  for (;;) {
    const auto cut = cut_frame(stream);
    outcome.end = cut ? Errc::kProtocol : cut.error().code;
    if (!cut || checksum(cut->header, cut->control, cut->payload) != cut->header.crc) return outcome;
    outcome.frames.push_back(
        {encode(cut->header), {cut->control.begin(), cut->control.end()}, {cut->payload.begin(), cut->payload.end()}});
    stream = stream.subspan(cut->bytes.size());
  }
}

void run_ready(boost::asio::io_context& loop) {
  loop.restart();
  loop.poll();
}

/// Gives the reader one piece after the other, each when it has nothing left to read.
Outcome read_in_pieces(std::span<const std::byte> stream, std::uint32_t seed) {
  static boost::asio::io_context loop(1);
  int ends[2];
  TUTTI_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "a pair of sockets");
  Sink sink;
  auto connection =
      std::make_shared<Connection>(Connection::Socket(loop, boost::asio::ip::tcp::v4(), ends[0]), PeerIdentity{});
  connection->start(sink);
  std::minstd_rand random(seed);
  while (!stream.empty() && !sink.outcome.ended) {
    const std::size_t most = random() % 4 == 0 ? stream.size() : 64;
    const auto piece = stream.first(std::min<std::size_t>(1 + random() % most, stream.size()));
    const auto sent = ::send(ends[1], piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    TUTTI_ASSERT(sent == static_cast<ssize_t>(piece.size()), "a piece fits into a socket that is read");
    stream = stream.subspan(piece.size());
    run_ready(loop);
  }
  ::close(ends[1]);
  run_ready(loop);
  connection.reset();
  run_ready(loop);
  return std::move(sink.outcome);
}

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti::fuzz;
  Input input(data, size);
  const auto seed = input.number<std::uint32_t>();
  const auto rest = input.take(kStreamBytesMax);
  Bytes stream(rest.begin(), rest.end());
  if (seed % 2 == 1) repair_checksums(stream);

  const AllocationWatch watch;
  const Outcome found = read_in_pieces(stream, seed);
  TUTTI_ASSERT(watch.largest() <= kBlockBytesMax, "no header makes the reader allocate more than the protocol allows");
  TUTTI_ASSERT(found == read_at_once(stream), "the reader sees what is in the stream, however it is cut");
  if (!found.frames.empty()) accept();
  return 0;
}
