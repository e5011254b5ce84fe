// SPDX-License-Identifier: Apache-2.0
#include "ps/server_main.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <optional>
#include <string>
#include <vector>

#include "common/control/coordinator.h"
#include "common/control/member.h"
#include "common/host_memory.h"
#include "tests/ps/byte_counts.h"
#include "tests/ps/cluster.h"

namespace tutti::ps {
namespace {

/// A run of one rank and one shard, whose agent is the test: it holds the other end of the shard's descriptor.
class ServerProcess : public testing::Test {
 protected:
  void SetUp() override {
    Coordinator::Options options;
    options.machine.workers = 1;
    options.machine.servers = 1;
    options.machine.agents = 1;
    options.secret = bootstrap_.secret;
    auto coordinator =
        Coordinator::start(loop_, options, clock_, Logger::none(),
                           {.print = [](const std::string&) {}, .notice = nullptr, .finished = [](int) {}});
    if (!coordinator) raise(coordinator.error());
    coordinator_ = std::move(*coordinator);
    ASSERT_EQ(::pipe(agent_), 0);
    bootstrap_.role = Role::kServer;
    bootstrap_.address = "127.0.0.1";
    bootstrap_.coordinator = coordinator_->endpoint();
    bootstrap_.config.shards = 1;
  }
  void TearDown() override {
    close_agent();
    if (served_.valid()) served_.wait();
    ::close(agent_[0]);
  }

  void serve_in_background() {
    served_ = std::async(std::launch::async,
                         [this] { return serve(bootstrap_, agent_[0], clock_, events_, Logger::none()); });
  }
  void close_agent() {
    if (agent_[1] >= 0) ::close(agent_[1]);
    agent_[1] = -1;
  }
  std::unique_ptr<Member> join_as_rank() {
    auto member = Member::join(loop_, {bootstrap_.coordinator, rank_, "here", 1}, Logger::none());
    if (!member) raise(member.error());
    return std::move(*member);
  }

  SteadyClock clock_;
  NullEventSink events_;
  Loop loop_;
  Bootstrap bootstrap_ = [] {
    Bootstrap bootstrap;
    bootstrap.secret = Secret::random();
    return bootstrap;
  }();
  const Credentials rank_{bootstrap_.secret, bootstrap_.job, {Role::kWorker, 0, 1}};
  std::unique_ptr<Coordinator> coordinator_;
  int agent_[2] = {-1, -1};
  std::future<Result<int>> served_;
};

TEST_F(ServerProcess, PublishesItsShardAndServesIt) {
  serve_in_background();
  const auto member = join_as_rank();
  const auto published = member->get(shard_key(0), in_seconds(20));
  ASSERT_TRUE(published) << published.error().text();
  const auto endpoint = parse_endpoint(*published);
  ASSERT_TRUE(endpoint);
  auto client = Client::connect(loop_, {{*endpoint}, rank_, 1, 4096}, clock_, events_, in_seconds(20));
  ASSERT_TRUE(client) << client.error().text();
  std::vector<std::byte> bucket(100, std::byte{5});
  ASSERT_TRUE((*client)->open({0, 0, {{DType::kUInt8, Reduction::kSum, 100}}, {bucket.data()}}, in_seconds(20)));
  ASSERT_TRUE((*client)->start(0, {1, 0}, 0));
  EXPECT_TRUE((*client)->finish(0, in_seconds(20)));
}

/// How many bytes a rank whose buckets lie in its host's memory had to send in one exchange.
class ServerOnAHost : public ServerProcess {
 protected:
  std::size_t bytes_sent() {
    bootstrap_.host_memory = "tutti-server-test-" + std::to_string(::getpid());
    Loop keeper_loop;
    const auto keeper = SegmentKeeper::start(keeper_loop, bootstrap_.host_memory, Logger::none());
    if (!keeper) raise(keeper.error());
    serve_in_background();
    const auto member = join_as_rank();
    const auto endpoint = parse_endpoint(member->get(shard_key(0), in_seconds(20)).value()).value();
    ByteCounts meter;
    const std::vector<BucketSpec> buckets{{DType::kUInt8, Reduction::kSum, 100}};
    auto client = Client::connect(loop_, {{endpoint}, rank_, 1, 4096, 1, {bootstrap_.host_memory, 0, 1}, &meter},
                                  clock_, events_, in_seconds(20));
    if (!client) raise(client.error());
    const HostBuckets placed = (*client)->place(0, 0, buckets, in_seconds(20)).value();
    EXPECT_TRUE((*client)->open({0, 0, buckets, {placed[0].get()}}, in_seconds(20)));
    EXPECT_TRUE((*client)->start(0, {1, 0}, 0));
    EXPECT_TRUE((*client)->finish(0, in_seconds(20)));
    client->reset();  // what was sent has been counted
    return meter.all(BytePass::kWritten);
  }
};

TEST_F(ServerOnAHost, ReadsBucketsInItsHostsMemory) {
  EXPECT_EQ(bytes_sent(), 0u);
}

TEST_F(ServerOnAHost, ReadsFromSocketsOnlyWhenItIsTold) {
  bootstrap_.config.transport = "tcp";
  EXPECT_EQ(bytes_sent(), 100u);
}

TEST_F(ServerProcess, EndsWellWhenItsAgentIsDoneWithIt) {
  serve_in_background();
  const auto member = join_as_rank();
  ASSERT_TRUE(member->get(shard_key(0), in_seconds(20)));
  ASSERT_EQ(::write(agent_[1], "x", 1), 1);  // what an agent says is not its end
  close_agent();
  const auto code = served_.get();
  ASSERT_TRUE(code) << code.error().text();
  EXPECT_EQ(*code, 0);
}

TEST_F(ServerProcess, EndsWithTheCauseForWhichTheRunEnds) {
  serve_in_background();
  const auto member = join_as_rank();
  ASSERT_TRUE(member->get(shard_key(0), in_seconds(20)));
  member->report_failure(fail(Errc::kMismatch, "the models differ"));
  const auto code = served_.get();
  ASSERT_TRUE(code) << code.error().text();
  EXPECT_EQ(*code, exit_code(Errc::kMismatch));
}

TEST_F(ServerProcess, SaysWhichPortItCouldNotHave) {
  bootstrap_.config.ports = std::to_string(coordinator_->endpoint().port);
  const auto served = serve(bootstrap_, agent_[0], clock_, events_, Logger::none());
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::kUnavailable);
  EXPECT_THAT(served.error().text(), testing::HasSubstr(bootstrap_.config.ports));
}

TEST_F(ServerProcess, RefusesANumberOfShardsThatIsNotSettled) {
  bootstrap_.config.shards = -1;
  const auto served = serve(bootstrap_, agent_[0], clock_, events_, Logger::none());
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().code, Errc::kConfig);
}

}  // namespace
}  // namespace tutti::ps
