// SPDX-License-Identifier: Apache-2.0
#include "common/host_memory.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "common/host_layout.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

std::string fresh_name() {
  static int number = 0;
  return "tutti-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
}

class HostMemory : public ::testing::Test {
 protected:
  Result<Segment> obtain(const SegmentRequest& request, Duration patience = 20s) {
    return obtain_segment(name_, request, clock_, clock_.now() + patience);
  }

  const std::string name_ = fresh_name();
  const SteadyClock clock_;
  Loop loop_;
  std::unique_ptr<SegmentKeeper> keeper_ = SegmentKeeper::start(loop_, name_, Logger::none()).value();
  const SegmentRequest request_{3, 0, 77, {2, 1, 4, 4096}};
};

TEST_F(HostMemory, GivesTheSameMemoryToAllThatAsk) {
  Segment one = obtain(request_).value();
  const Segment two = obtain(request_).value();
  one.data()[100] = std::byte{9};
  one.set_ready(1, 0, 5);
  EXPECT_EQ(two.data()[100], std::byte{9});
  EXPECT_EQ(two.ready(1, 0), 5u);
}

TEST_F(HostMemory, OutlivesTheProcessesThatWorkInIt) {
  obtain(request_).value().set_done(2, 8);
  EXPECT_EQ(obtain(request_).value().done(2), 8u);
}

TEST_F(HostMemory, IsAnotherForEachObjectAndPlan) {
  SegmentRequest other = request_, later = request_;
  other.object = 4;
  later.number = 1;
  Segment first = obtain(request_).value();
  first.set_done(0, 1);
  EXPECT_EQ(obtain(other).value().done(0), 0u);
  EXPECT_EQ(obtain(later).value().done(0), 0u);
  EXPECT_EQ(first.done(0), 1u);  // who still works in it keeps it
  EXPECT_EQ(obtain(request_).error().code, Errc::kMismatch);
}

TEST_F(HostMemory, RefusesRanksThatDisagree) {
  ASSERT_TRUE(obtain(request_));
  SegmentRequest other_shape = request_, other_plan = request_;
  other_shape.shape.data_bytes = 8192;
  other_plan.plan_hash = 78;
  const auto refused = obtain(other_shape);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kMismatch);
  EXPECT_THAT(refused.error().text(),
              ::testing::AllOf(HasSubstr("model 3"), HasSubstr("8192 bytes"), HasSubstr("4096 bytes")));
  EXPECT_EQ(obtain(other_plan).error().code, Errc::kMismatch);
}

TEST_F(HostMemory, RefusesAShapeBeyondAllBounds) {
  SegmentRequest request = request_;
  request.shape.ranks = 0;
  EXPECT_EQ(obtain(request).error().code, Errc::kUsage);
}

TEST_F(HostMemory, WaitsForAKeeperThatStartsLater) {
  keeper_.reset();
  std::jthread starts_later([&] {
    EXPECT_FALSE(obtain(request_, 5ms));
    keeper_ = SegmentKeeper::start(loop_, name_, Logger::none()).value();
  });
  EXPECT_TRUE(obtain(request_));
}

TEST_F(HostMemory, TellsThatThereIsNoKeeper) {
  keeper_.reset();
  const auto nobody = obtain(request_, 5ms);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, Errc::kUnavailable);
  EXPECT_THAT(nobody.error().text(), HasSubstr(name_));
}

TEST_F(HostMemory, HasOneKeeperForEachName) {
  const auto second = SegmentKeeper::start(loop_, name_, Logger::none());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
}

TEST_F(HostMemory, IsNotDisturbedByStrangersMessages) {
  sockaddr_un address{AF_UNIX, {}};
  name_.copy(address.sun_path + 1, name_.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
  const FileDescriptor stranger(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(stranger.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
  ASSERT_EQ(::send(stranger.get(), "GET / HTTP/1.1", 14, MSG_NOSIGNAL), 14);
  char byte = 0;
  EXPECT_EQ(::recv(stranger.get(), &byte, 1, 0), 0);  // it is closed without an answer
  EXPECT_TRUE(obtain(request_));
}

TEST(HostLayout, PutsBucketsOnCacheLinesAndRegionsAtUnequalPlacesOfTheirPages) {
  const BucketSpec buckets[] = {{DType::kFloat32, Reduction::kAverage, 3},
                                {DType::kBFloat16, Reduction::kAverage, 5000},
                                {DType::kFloat64, Reduction::kSum, 1}};
  const HostLayout layout(buckets, 3);
  EXPECT_EQ(layout.offset(0, 0), 0u);
  EXPECT_EQ(layout.offset(0, 1), 64u);
  EXPECT_EQ(layout.offset(0, 2), 64u + 10'048u);
  EXPECT_EQ(layout.offset(2, 0), 2 * (12'288u + 256u));
  EXPECT_EQ(layout.data_bytes(), 3 * (12'288u + 256u));
}

TEST(HostLayout, HasAWordForEachBlockOfEachRankBehindItsBuckets) {
  const BucketSpec buckets[] = {{DType::kInt8, Reduction::kSum, HostLayout::kBlockBytes + 1},
                                {DType::kInt8, Reduction::kSum, 5}};
  const HostLayout layout(buckets, 2);
  EXPECT_EQ(layout.finding(0, 0, 0), HostLayout::kBlockBytes + 128);
  EXPECT_EQ(layout.finding(0, 0, 1), layout.finding(0, 0, 0) + 4);
  EXPECT_EQ(layout.finding(0, 1, 0), layout.finding(0, 0, 0) + 8);
  EXPECT_EQ(layout.finding(1, 1, 0) - layout.finding(0, 1, 0), layout.data_bytes() / 2);
}

TEST(HostLayout, CutsABucketIntoBlocksThatCoverIt) {
  constexpr std::uint64_t kBytes = 2 * HostLayout::kBlockBytes + 12;
  ASSERT_EQ(block_count(kBytes), 3u);
  EXPECT_EQ(BlockRange(1, kBytes).offset, HostLayout::kBlockBytes);
  EXPECT_EQ(BlockRange(1, kBytes).bytes, HostLayout::kBlockBytes);
  EXPECT_EQ(BlockRange(2, kBytes).bytes, 12u);
  EXPECT_EQ(block_count(0), 0u);
}

}  // namespace
}  // namespace tutti
