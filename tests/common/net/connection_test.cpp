// SPDX-License-Identifier: Apache-2.0
#include "common/net/connection.h"

#include <gmock/gmock.h>

#include <numeric>

#include "tests/common/net/loopback.h"

namespace tutti::testing {
namespace {

std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>((seed = seed * 1664525u + 1013904223u) >> 24);
  return bytes;
}

FrameHeader push(std::uint32_t chunk) {
  FrameHeader header;
  header.type = FrameType::kPush;
  header.chunk = chunk;
  return header;
}

/// A connection that proved itself, its accepted side with a recording sink.
class Joined : public Listening {
 public:
  void open() {
    client = connect_with(credentials({Role::kWorker, 2, 1})).value();
    server = accepted.take().value();
    loop.run([this] {
      client->start(client_sink);
      server->start(server_sink);
    });
  }
  void send(FrameHeader header, std::string control, std::span<const std::byte> payload,
            std::function<void(bool)> sent = nullptr) {
    loop.run([&] { client->send(header, std::move(control), payload, std::move(sent)); });
  }
  ~Joined() {
    client_sink.end(loop, *client);
    server_sink.end(loop, *server);
  }

  RecordingSink client_sink, server_sink;
  std::shared_ptr<Connection> client, server;
};

/// A raw socket that went through the handshake, and the connection at its other end.
class RawJoined : public Listening {
 public:
  RawJoined() : raw(endpoint) {
    EXPECT_TRUE(raw.shake_hands(credentials()));
    server = accepted.take().value();
  }
  void start() {
    loop.run([this] { server->start(sink); });
  }
  ~RawJoined() { sink.end(loop, *server); }

  RawClient raw;
  RecordingSink sink;
  std::shared_ptr<Connection> server;
};

std::vector<std::byte> wire(FrameHeader header, std::string_view control, std::span<const std::byte> payload) {
  header.control_bytes = static_cast<std::uint32_t>(control.size());
  header.payload_bytes = payload.size();
  header.crc = checksum(header, std::as_bytes(std::span(control)), payload);
  const FrameHeaderBytes head = encode(header);
  std::vector<std::byte> bytes(head.begin(), head.end());
  for (const std::byte byte : bytes_of(control)) bytes.push_back(byte);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

TEST(Connection, CarriesControlAndPutsThePayloadIntoItsPlace) {
  Joined pair;
  const auto payload = pattern(1000);
  pair.server_sink.places[5].resize(payload.size());
  pair.open();
  EXPECT_EQ(pair.server->peer().rank, 2);
  pair.send(push(5), "control part", payload);
  const auto frame = pair.server_sink.frames.take();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->header.type, FrameType::kPush);
  EXPECT_EQ(frame->control, bytes_of("control part"));
  EXPECT_EQ(frame->payload, payload);
  EXPECT_EQ(frame->place, pair.server_sink.places[5].data());
}

TEST(Connection, Carries16MebibytesBothWaysAtOnce) {
  Joined pair;
  const auto up = pattern(16 << 20, 1);
  const auto down = pattern(16 << 20, 2);
  pair.server_sink.places[0].resize(up.size());
  pair.client_sink.places[0].resize(down.size());
  pair.open();
  pair.loop.run([&] {
    pair.client->send(push(0), "", up);
    pair.server->send(push(0), "", down);
  });
  ASSERT_TRUE(pair.server_sink.frames.take());
  ASSERT_TRUE(pair.client_sink.frames.take());
  EXPECT_EQ(pair.server_sink.places[0], up);
  EXPECT_EQ(pair.client_sink.places[0], down);
  EXPECT_EQ(pair.loop.run([&] { return pair.server->bytes_received(); }), up.size() + kFrameHeaderBytes);
}

TEST(Connection, KeepsTheOrderOfManyFramesAndReportsEachAsSent) {
  constexpr std::uint32_t kFrames = 500;
  Joined pair;
  const auto payload = pattern(3000);
  for (std::uint32_t chunk = 0; chunk < kFrames; ++chunk) pair.server_sink.places[chunk].resize(payload.size());
  pair.open();
  Mailbox<bool> sent;
  pair.loop.run([&] {
    for (std::uint32_t chunk = 0; chunk < kFrames; ++chunk) {
      pair.client->send(push(chunk), chunk % 2 ? "odd" : "", payload, [&](bool ok) { sent.put(ok); });
    }
  });
  for (std::uint32_t chunk = 0; chunk < kFrames; ++chunk) {
    const auto frame = pair.server_sink.frames.take();
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->header.chunk, chunk);
    EXPECT_EQ(frame->payload, payload);
    EXPECT_EQ(sent.take(), true);
  }
}

TEST(Connection, SendsWhatIsQueuedBeforeItCloses) {
  Joined pair;
  const auto payload = pattern(8 << 20);
  pair.server_sink.places[0].resize(payload.size());
  pair.open();
  pair.loop.run([&] {
    pair.client->send(push(0), "", payload);
    pair.client->close();
  });
  ASSERT_TRUE(pair.server_sink.frames.take());
  EXPECT_EQ(pair.server_sink.places[0], payload);
  EXPECT_EQ(pair.server_sink.closed.take()->code, Errc::kPeerLost);
  EXPECT_EQ(pair.client_sink.closed.take()->code, Errc::kCancelled);
}

TEST(Connection, ClosedAtOnceTellsEverySenderThatItsFrameWasNotSent) {
  Joined pair;
  const auto payload = pattern(64 << 20);
  pair.open();
  pair.server_sink.places[0].resize(1);
  Mailbox<bool> sent;
  pair.loop.run([&] {
    for (int i = 0; i < 3; ++i) pair.client->send(push(9), "", payload, [&](bool ok) { sent.put(ok); });
    pair.client->close(true);
    pair.client->send(push(9), "", {}, [&](bool ok) { sent.put(ok); });
  });
  for (int i = 0; i < 4; ++i) EXPECT_EQ(sent.take(), false);
  EXPECT_EQ(pair.client_sink.closed.take()->code, Errc::kCancelled);
}

TEST(Connection, CutByThePeerIsAPeerLost) {
  RawJoined pair;
  pair.start();
  pair.raw.close();
  EXPECT_EQ(pair.sink.closed.take()->code, Errc::kPeerLost);
}

TEST(Connection, PayloadWithoutAPlaceCloses) {
  RawJoined pair;
  pair.start();
  pair.raw.write(wire(push(1), "", pattern(10)));
  EXPECT_EQ(pair.sink.closed.take()->code, Errc::kProtocol);
  EXPECT_TRUE(pair.raw.sees_close());
}

TEST(Connection, PayloadOfAnotherLengthThanAgreedCloses) {
  RawJoined pair;
  pair.sink.places[1].resize(9);
  pair.start();
  pair.raw.write(wire(push(1), "", pattern(10)));
  EXPECT_EQ(pair.sink.closed.take()->code, Errc::kProtocol);
}

TEST(Connection, ByteFlippedOnTheWireNeverReachesTheSinkAsAFrame) {
  const auto payload = pattern(40);
  const auto sound = wire(push(1), "control", payload);
  // One byte of each: generation, step, chunk, checksum, control part, first and last byte of the payload.
  for (const std::size_t position : {std::size_t{5}, std::size_t{9}, std::size_t{20}, std::size_t{45},
                                     kFrameHeaderBytes, kFrameHeaderBytes + 7, sound.size() - 1}) {
    RawJoined pair;
    pair.sink.places[1].resize(payload.size());
    pair.start();
    auto flipped = sound;
    flipped[position] ^= std::byte{0x10};
    pair.raw.write(flipped);
    EXPECT_EQ(pair.sink.closed.take()->code, Errc::kProtocol) << position;
    EXPECT_EQ(pair.sink.frames.size(), 0u) << position;
  }
}

TEST(Connection, LengthsNobodySendsCloseBeforeAnythingIsRead) {
  for (const std::uint64_t size :
       {std::uint64_t{1} << 31, std::uint64_t{1} << 40, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    RawJoined pair;
    pair.start();
    FrameHeader header = push(1);
    header.payload_bytes = size;
    pair.raw.write(encode(header));
    EXPECT_EQ(pair.sink.closed.take()->code, Errc::kProtocol) << size;
  }
  RawJoined pair;
  pair.start();
  FrameHeader header = push(1);
  header.control_bytes = kControlBytesMax + 1;
  pair.raw.write(encode(header));
  EXPECT_EQ(pair.sink.closed.take()->code, Errc::kProtocol);
}

TEST(Connection, FrameThatComesByteByByteIsWhole) {
  RawJoined pair;
  const auto payload = pattern(30);
  pair.sink.places[1].resize(payload.size());
  pair.start();
  for (const std::byte byte : wire(push(1), "control", payload)) pair.raw.write({&byte, 1});
  const auto frame = pair.sink.frames.take();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->payload, payload);
}

TEST(Connection, SinkThatFailsClosesWithItsFailure) {
  RawJoined pair;
  pair.sink.refusal = fail(Errc::kMismatch, "not this one");
  pair.start();
  pair.raw.write(wire(push(1), "", {}));
  const auto why = pair.sink.closed.take();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, Errc::kMismatch);
}

TEST(Connection, PeerThatNeverReadsCostsABoundedQueue) {
  RawJoined pair;
  pair.start();
  const std::string control(kControlBytesMax, 'x');
  pair.loop.run([&] {
    for (int i = 0; i < 80; ++i) pair.server->send(push(1), control);
  });
  EXPECT_EQ(pair.sink.closed.take()->code, Errc::kPeerLost);
}

TEST(Endpoint, ParsesHostAndPort) {
  const auto endpoint = parse_endpoint("10.0.0.7:5000");
  ASSERT_TRUE(endpoint);
  EXPECT_EQ(endpoint->host, "10.0.0.7");
  EXPECT_EQ(endpoint->port, 5000);
  for (const char* wrong : {"", "10.0.0.7", ":5000", "host:", "host:0", "host:65536", "host:12x", "host:-1"}) {
    EXPECT_EQ(parse_endpoint(wrong).error().code, Errc::kConfig) << wrong;
  }
}

}  // namespace
}  // namespace tutti::testing
