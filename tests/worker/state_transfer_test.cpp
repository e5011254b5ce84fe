// SPDX-License-Identifier: Apache-2.0
// A survivor's state over real sockets: what its newcomers get is what it gave, and nobody else gets anything.
#include "worker/state_transfer.h"

#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <thread>

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;

class StateTransfer : public testing::Test {
 protected:
  static constexpr std::uint64_t kMost = 1u << 30;

  Credentials of(int rank, std::uint32_t generation = 2) const {
    return {secret_, JobId{}, {Role::kWorker, rank, generation}};
  }
  std::unique_ptr<StateDonor> give(std::vector<int> newcomers, const std::vector<std::span<const std::byte>>& parts) {
    auto donor =
        StateDonor::start(donors_loop_, "127.0.0.1", of(0), std::move(newcomers), parts, clock_, Logger::none());
    EXPECT_TRUE(donor);
    return std::move(*donor);
  }
  std::unique_ptr<StateReceiver> take(const StateDonor& donor, Credentials credentials, std::uint64_t most = kMost) {
    return StateReceiver::start(receivers_loop_, donor.endpoint(), std::move(credentials), most, 20s);
  }
  Deadline soon() const { return clock_.now() + 20s; }

  const Secret secret_ = Secret::random();
  const SteadyClock clock_;
  Loop donors_loop_, receivers_loop_;
};

std::vector<std::byte> noise(std::size_t bytes) {
  std::vector<std::byte> noise(bytes);
  std::uint64_t state = 88172645463325252u;
  for (std::byte& byte : noise) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = static_cast<std::byte>(state);
  }
  return noise;
}

TEST_F(StateTransfer, GivesEveryNewcomerTheSameBytes) {
  const auto first = noise(3'000'001), second = noise(5);
  const auto donor = give({1, 3}, {first, {}, second});
  const auto one = take(*donor, of(1)), three = take(*donor, of(3));
  for (const auto* receiver : {&one, &three}) {
    const auto state = (*receiver)->wait(soon());
    ASSERT_TRUE(state) << state.error().text();
    ASSERT_EQ(state->size, first.size() + second.size());
    EXPECT_EQ(std::memcmp(state->bytes.get(), first.data(), first.size()), 0);
    EXPECT_EQ(std::memcmp(state->bytes.get() + first.size(), second.data(), second.size()), 0);
  }
  EXPECT_TRUE(donor->wait(soon()));
}

TEST_F(StateTransfer, GivesNothingToOthers) {
  const auto bytes = noise(100);
  const auto donor = give({1}, {bytes});
  EXPECT_FALSE(take(*donor, of(2))->wait(soon())) << "no newcomer";
  EXPECT_FALSE(take(*donor, of(1, 1))->wait(soon())) << "of an older generation";
  Credentials stranger = of(1);
  stranger.secret = Secret::random();
  EXPECT_EQ(take(*donor, stranger)->wait(soon()).error().code, Errc::kAuthentication);
  EXPECT_TRUE(take(*donor, of(1))->wait(soon()));
  EXPECT_TRUE(donor->wait(soon()));
}

TEST_F(StateTransfer, TakesNoMoreThanFits) {
  const auto bytes = noise(101);
  const auto donor = give({1}, {bytes});
  EXPECT_EQ(take(*donor, of(1), 100)->wait(soon()).error().code, Errc::kProtocol);
}

TEST_F(StateTransfer, IsEndedByANewGeneration) {
  const auto donor = give({1}, {});
  donor->interrupt();
  EXPECT_EQ(donor->wait(soon()).error().code, Errc::kSuperseded);
  // Nobody accepts there: the state cannot come before.
  using boost::asio::ip::tcp;
  tcp::acceptor deaf(donors_loop_.context(), tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  const auto receiver =
      StateReceiver::start(receivers_loop_, {"127.0.0.1", deaf.local_endpoint().port()}, of(1), kMost, 20s);
  receiver->interrupt();
  EXPECT_EQ(receiver->wait(soon()).error().code, Errc::kSuperseded);
}

// The figure is only shown.
TEST_F(StateTransfer, OfAHundredMegabytes) {
  const auto bytes = noise(100'000'000);
  for (int round = 0; round < 3; ++round) {
    const TimePoint begin = clock_.now();
    const auto donor = give({1}, {bytes});
    const auto state = take(*donor, of(1))->wait(soon());
    ASSERT_TRUE(donor->wait(soon()));
    std::printf("measured state=100MB seconds=%.3f\n", to_seconds(clock_.now() - begin));
    ASSERT_TRUE(state) << state.error().text();
    ASSERT_EQ(std::memcmp(state->bytes.get(), bytes.data(), bytes.size()), 0);
  }
}

}  // namespace
}  // namespace tutti::worker
