// SPDX-License-Identifier: Apache-2.0
#include "common/bootstrap.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "common/file.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;

Bootstrap example_bootstrap() {
  Bootstrap bootstrap;
  bootstrap.role = Role::kServer;
  bootstrap.rank = 3;
  bootstrap.world_size = 8;
  bootstrap.local_rank = 1;
  bootstrap.local_size = 4;
  bootstrap.host_index = 1;
  bootstrap.hosts = 2;
  bootstrap.generation = 6;
  bootstrap.host = "node2";
  bootstrap.address = "10.0.0.2";
  bootstrap.host_memory = "tutti-01-4";
  bootstrap.recordings = "runs/1/recordings";
  bootstrap.coordinator = {"10.0.0.1", 5000};
  bootstrap.job.fill(std::byte{7});
  bootstrap.secret = Secret::random();
  bootstrap.config.program = {"./train", "--fast"};
  bootstrap.config.exchange = "ps";
  return bootstrap;
}

void expect_equal(const Bootstrap& a, const Bootstrap& b) {
  EXPECT_EQ(a.role, b.role);
  EXPECT_EQ(a.rank, b.rank);
  EXPECT_EQ(a.world_size, b.world_size);
  EXPECT_EQ(a.local_rank, b.local_rank);
  EXPECT_EQ(a.local_size, b.local_size);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.host, b.host);
  EXPECT_EQ(a.address, b.address);
  EXPECT_EQ(a.host_memory, b.host_memory);
  EXPECT_EQ(a.recordings, b.recordings);
  EXPECT_EQ(a.coordinator.text(), b.coordinator.text());
  EXPECT_EQ(a.job, b.job);
  EXPECT_TRUE(std::ranges::equal(a.secret.bytes(), b.secret.bytes()));
  EXPECT_EQ(a.config, b.config);
}

class BootstrapChannel : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    agent_ = FileDescriptor(ends[0]);
    child_ = FileDescriptor(ends[1]);
  }
  void send(const std::string& bytes) { ASSERT_TRUE(write_all(agent_.get(), std::as_bytes(std::span(bytes)), "test")); }
  void close_agent() { agent_ = FileDescriptor(); }
  FileDescriptor agent_, child_;
};

TEST(Bootstrap, CountsOneContributorForEachHostWhereHostsSumFirst) {
  Bootstrap bootstrap = example_bootstrap();
  EXPECT_EQ(bootstrap.contributors(), 8);
  bootstrap.config.exchange = "shm+ps";
  EXPECT_EQ(bootstrap.contributors(), 2);
}

TEST_F(BootstrapChannel, CarriesEverything) {
  const Bootstrap sent = example_bootstrap();
  ASSERT_TRUE(write_bootstrap(agent_.get(), sent));
  const auto received = read_bootstrap(child_.get());
  ASSERT_TRUE(received) << received.error().text();
  expect_equal(*received, sent);
}

TEST_F(BootstrapChannel, StaysOpenAndIsNotInheritedFurther) {
  ASSERT_TRUE(write_bootstrap(agent_.get(), example_bootstrap()));
  ASSERT_TRUE(read_bootstrap(child_.get()));
  EXPECT_EQ(::fcntl(child_.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  close_agent();
  char byte = 0;
  EXPECT_EQ(::read(child_.get(), &byte, 1), 0);
}

TEST_F(BootstrapChannel, RefusesALengthBeyondItsBound) {
  send(std::string("\0\0\0\0\1\0\0\0", 8));
  const auto received = read_bootstrap(child_.get());
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::kProtocol);
  EXPECT_THAT(received.error().text(), HasSubstr("announces 4294967296 bytes"));
}

TEST_F(BootstrapChannel, RefusesAnAgentThatEndsEarly) {
  send(std::string("\7\0\0\0\0\0\0\0abc", 11));
  close_agent();
  const auto received = read_bootstrap(child_.get());
  ASSERT_FALSE(received);
  EXPECT_THAT(received.error().text(), HasSubstr("ends after 3 bytes, expected 7"));
}

TEST(Bootstrap, RefusesEveryTruncation) {
  const std::string whole = encode(example_bootstrap());
  EXPECT_TRUE(decode_bootstrap(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) EXPECT_FALSE(decode_bootstrap(whole.substr(0, length)));
}

TEST(StatusPage, ShowsTheChildsStepToItsAgent) {
  const auto agents = StatusPage::create();
  ASSERT_TRUE(agents) << agents.error().text();
  EXPECT_EQ(agents->step(), 0u);
  {
    auto childs = StatusPage::open(::dup(agents->fd()));
    ASSERT_TRUE(childs) << childs.error().text();
    childs->set_step(37);
  }
  EXPECT_EQ(agents->step(), 37u);
}

TEST(StatusPage, ShowsTheAgentsWishToAChildThatListens) {
  auto agents = StatusPage::create();
  ASSERT_TRUE(agents);
  auto childs = StatusPage::open(::dup(agents->fd()));
  ASSERT_TRUE(childs);
  EXPECT_FALSE(agents->listening());
  EXPECT_EQ(childs->wish(), StatusPage::Wish::kNone);
  childs->set_step(3);
  childs->set_listening();
  agents->set_wish(StatusPage::Wish::kStop);
  EXPECT_TRUE(agents->listening());
  EXPECT_EQ(agents->step(), 3u);
  EXPECT_EQ(childs->wish(), StatusPage::Wish::kStop);
}

TEST(StatusPage, RefusesADescriptorOfAnotherKind) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const FileDescriptor other(ends[1]);
  const auto page = StatusPage::open(ends[0]);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, Errc::kBadData);
  EXPECT_FALSE(StatusPage::open(-1));
}

}  // namespace
}  // namespace tutti
