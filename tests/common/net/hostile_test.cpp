// SPDX-License-Identifier: Apache-2.0
// Strangers and broken wires at one port: whatever they do costs little memory, fills no log and keeps nobody out.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <memory>
#include <random>

#include "common/file.h"
#include "tests/common/net/loopback.h"
#include "tests/common/temporary_folder.h"

namespace tutti::testing {
namespace {

constexpr std::int64_t kMebibyte = 1 << 20;

/// What all threads hold of the C library's heap. A sanitizer has a heap of its own: there it hardly changes.
std::int64_t heap_bytes() {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* file = ::open_memstream(&text, &size);
  ::malloc_info(0, file);
  std::fclose(file);
  const std::string report(text, size);
  std::free(text);
  // The totals of all arenas stand last.
  const auto total = [&](const std::string& element) {
    const auto at = report.rfind(element);
    return std::atoll(report.c_str() + report.find("size=\"", at) + 6);
  };
  return total("<system type=\"current\"") - total("<total type=\"fast\"") - total("<total type=\"rest\"") +
         total("<total type=\"mmap\"");
}

std::vector<std::byte> noise(std::size_t size) {
  std::minstd_rand random(11);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8);
  return bytes;
}

FrameHeader push() {
  FrameHeader header;
  header.type = FrameType::kPush;
  return header;
}

std::vector<std::byte> sound_frame() {
  const auto control = bytes_of("control"), payload = noise(40);
  FrameHeader header = push();
  header.control_bytes = static_cast<std::uint32_t>(control.size());
  header.payload_bytes = payload.size();
  header.crc = checksum(header, control, payload);
  const FrameHeaderBytes head = encode(header);
  std::vector<std::byte> frame(head.begin(), head.end());
  frame.insert(frame.end(), control.begin(), control.end());
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

/// An acceptor that many come to, one after the other.
class Hostile : public ::testing::Test {
 protected:
  /// How a connection ends whose peer proved itself, said `bytes` and closed; no frame may come out of them.
  std::optional<Errc> end_after(std::span<const std::byte> bytes) {
    RawClient raw(listening_.endpoint);
    EXPECT_TRUE(raw.shake_hands(credentials()));
    const auto server = listening_.accepted.take().value();
    RecordingSink sink;
    sink.places[0].resize(40);
    listening_.loop.run([&] { server->start(sink); });
    raw.write(bytes);
    raw.close();
    const auto why = sink.closed.take();
    sink.end(listening_.loop, *server);
    EXPECT_EQ(sink.frames.size(), 0u);
    return why ? std::optional(why->code) : std::nullopt;
  }
  /// Grows the heap once, so that only what is kept is counted after.
  std::int64_t heap_when_warm() {
    end_after(sound_frame_cut_at(kFrameHeaderBytes));
    return heap_bytes();
  }
  static std::vector<std::byte> sound_frame_cut_at(std::size_t size) {
    auto bytes = sound_frame();
    bytes.resize(size);
    return bytes;
  }

  Listening listening_;
};

TEST_F(Hostile, AFrameCutAtAnyByteIsALostPeerAndCostsNothing) {
  const auto before = heap_when_warm();
  for (std::size_t size = 0; size < sound_frame().size(); ++size) {
    EXPECT_EQ(end_after(sound_frame_cut_at(size)), Errc::kPeerLost) << size;
  }
  EXPECT_LE(heap_bytes() - before, kMebibyte);
}

TEST_F(Hostile, AFrameWithAnyBitFlippedIsNoFrame) {
  const auto sound = sound_frame();
  for (std::size_t bit = 0; bit < 8 * sound.size(); ++bit) {
    auto flipped = sound;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto end = end_after(flipped);
    // A control part that claims more than came is waited for until the peer is gone.
    EXPECT_TRUE(end == Errc::kProtocol || end == Errc::kPeerLost) << "bit " << bit;
  }
}

TEST_F(Hostile, LengthsNobodySendsCostNothing) {
  const auto before = heap_when_warm();
  for (const std::uint64_t size : {std::uint64_t{1} << 31, std::uint64_t{1} << 40, std::uint64_t{1} << 63,
                                   ~std::uint64_t{0}, kPayloadBytesMax + 1}) {
    FrameHeader header = push();
    header.payload_bytes = size;
    EXPECT_EQ(end_after(encode(header)), Errc::kProtocol) << size;
  }
  for (const std::uint32_t size : {kControlBytesMax + 1, 1u << 31, ~0u}) {
    FrameHeader header = push();
    header.control_bytes = size;
    EXPECT_EQ(end_after(encode(header)), Errc::kProtocol) << size;
  }
  EXPECT_LE(heap_bytes() - before, kMebibyte);
}

TEST_F(Hostile, AMegabyteOfNoiseIsDroppedAtTheMagic) {
  const auto before = heap_when_warm();
  for (int i = 0; i < 20; ++i) {
    RawClient raw(listening_.endpoint);
    raw.write(noise(1 << 20));  // not all of it is taken
    EXPECT_TRUE(raw.sees_close());
  }
  EXPECT_EQ(listening_.refused(), 20u);
  EXPECT_LE(heap_bytes() - before, kMebibyte);
  EXPECT_TRUE(listening_.connect_with(credentials()));
}

/// A connection that says one byte and then nothing.
class HalfOpen {
 public:
  explicit HalfOpen(const Endpoint& to) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to.port);
    ::inet_pton(AF_INET, to.host.c_str(), &address.sin_addr);
    open_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    if (open_) ::send(socket_.get(), "T", 1, MSG_NOSIGNAL);
  }
  bool open() const noexcept { return open_; }

 private:
  FileDescriptor socket_;
  bool open_ = false;
};

/// Allows this process as many descriptors as the system lets it have.
void allow_many_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_F(Hostile, AThousandHalfOpenConnectionsKeepNobodyOut) {
  constexpr std::size_t kHalfOpen = 1000;
  allow_many_descriptors();
  const auto before = heap_when_warm();
  std::list<HalfOpen> strangers;
  for (std::size_t i = 0; i < kHalfOpen; ++i) {
    ASSERT_TRUE(strangers.emplace_back(listening_.endpoint).open()) << i;
  }
  EXPECT_TRUE(listening_.connect_with(credentials(), std::chrono::seconds(2)));
  EXPECT_LE(heap_bytes() - before, kMebibyte);
  EXPECT_GE(listening_.refused(), kHalfOpen - 64) << "the oldest gave their places up";
}

TEST(HostileFlood, WritesOneLineForOneSource) {
  const TemporaryFolder folder;
  Loop loop;
  ManualClock clock;
  const std::string path = folder.file("refusals.log");
  auto acceptor = loop.run([&] {
    return Acceptor::listen(loop.context(), {}, credentials(), clock, Logger::to_file(path, "test").value(), nullptr);
  });
  const auto scan = [&](int times) {
    for (int i = 0; i < times; ++i) {
      RawClient raw((*acceptor)->endpoint());
      raw.write(bytes_of("GET / HTTP/1.1\r\n\r\n"));
      EXPECT_TRUE(raw.sees_close());
    }
  };
  scan(50);
  loop.run([&] { clock.advance(std::chrono::seconds(10)); });
  scan(50);
  EXPECT_EQ(loop.run([&] { return (*acceptor)->refused(); }), 100u);
  loop.run([&] { acceptor->reset(); });
  const std::string text = content_of(path);
  EXPECT_EQ(std::ranges::count(text, '\n'), 2) << text;
}

}  // namespace
}  // namespace tutti::testing
