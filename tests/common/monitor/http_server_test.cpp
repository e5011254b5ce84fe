// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/http_server.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <list>
#include <thread>

#include "common/usage.h"
#include "tests/common/monitor/http_peer.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using monitor::HttpRequest;
using monitor::HttpResponse;
using monitor::HttpServer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr std::size_t kPlaces = 64;  // for connections

/// A server that answers with what it was asked, and streams what a test adds.
class Serving : public ::testing::Test {
 protected:
  Serving() { start(); }
  void start(std::uint16_t port = 0) {
    HttpServer::Handlers handlers;
    handlers.answer = [this](const HttpRequest& request) {
      last_ = request;
      ++answered_;
      return HttpResponse{.body = request.method + " " + request.path};
    };
    handlers.next_event = [this](std::uint64_t& cursor) {
      const std::uint64_t from = std::exchange(cursor, events_.load());
      return "from " + std::to_string(from) + std::string(event_bytes_, '.');
    };
    auto server = HttpServer::listen(loop_, {"127.0.0.1", port, "Node1"}, std::move(handlers));
    ASSERT_TRUE(server) << server.error().text();
    server_ = std::move(*server);
  }
  std::string status_for_host(const std::string& host, const std::string& target = "/") {
    HttpPeer peer(server_->port());
    peer.say("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
    return peer.rest().substr(9, 3);
  }
  /// How long that takes.
  Duration end() {
    const auto begin = std::chrono::steady_clock::now();
    server_.reset();
    return std::chrono::steady_clock::now() - begin;
  }

  Loop loop_;
  HttpRequest last_;  // the loop's
  std::atomic<int> answered_ = 0;
  std::atomic<std::uint64_t> events_ = 1;
  std::size_t event_bytes_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Serving, AnswersGetAndPostAndTakesRequestsApart) {
  HttpPeer peer(server_->port());
  peer.say(
      "POST /log?role=worker&rank=3&empty=&flag HTTP/1.1\r\nHost: localhost:1\r\nAuthorization: Bearer abc\r\n"
      "Content-Length: 4\r\nConnection: close\r\n\r\nbody");
  const std::string answer = peer.rest();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, AllOf(HasSubstr("\r\n\r\nPOST /log"), HasSubstr("Content-Length: 9\r\n")));
  for (const char* guard : {"Content-Security-Policy: default-src 'none'; ", "X-Content-Type-Options: nosniff\r\n",
                            "Referrer-Policy: no-referrer\r\n", "Cache-Control: no-store\r\n"})
    EXPECT_THAT(answer, HasSubstr(guard));
  EXPECT_EQ(last_.token, "abc");
  EXPECT_THAT(last_.query,
              UnorderedElementsAre(Pair("role", "worker"), Pair("rank", "3"), Pair("empty", ""), Pair("flag", "")));
  HttpPeer other(server_->port());
  other.get("/%2e%2e?a=b=c&&x%20y=1", "Authorization: Basic abc\r\nConnection: close\r\n");
  EXPECT_THAT(other.rest(), HasSubstr("\r\n\r\nGET /%2e%2e"));
  EXPECT_EQ(last_.token, "");
  EXPECT_EQ(last_.query.at("a"), "b=c");
}

TEST_F(Serving, KeepsAConnectionForOneRequestAfterAnother) {
  HttpPeer peer(server_->port());
  for (int i = 0; i < 3; ++i) {
    peer.get("/" + std::to_string(i));
    EXPECT_EQ(peer.answer().second, "GET /" + std::to_string(i));
  }
  peer.get("/4");
  peer.get("/5", "Connection: close\r\n");
  EXPECT_EQ(peer.answer().second, "GET /4");
  EXPECT_EQ(peer.answer().second, "GET /5") << "asked before the first was answered";
  EXPECT_TRUE(peer.sees_close());
}

TEST_F(Serving, RefusesOtherMethods) {
  for (const char* method : {"PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"}) {
    HttpPeer peer(server_->port());
    peer.say(std::string(method) + " / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_THAT(peer.rest(), AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("expected GET or POST"))) << method;
  }
  EXPECT_EQ(answered_, 0);
}

TEST_F(Serving, RefusesHeadWithoutABody) {
  HttpPeer peer(server_->port());
  peer.say("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(peer.rest(), AllOf(StartsWith("HTTP/1.1 405 "), Not(HasSubstr("expected"))));
}

TEST_F(Serving, RefusesANameThatIsNotThisMachines) {
  for (const char* own : {"localhost", "localhost:1234", "127.0.0.1:80", "[::1]:80", "[::1]", "10.1.2.3", "Node1",
                          "node1:1", "NODE1", "node1.example.org:8080", "LocalHost"})
    EXPECT_EQ(status_for_host(own), "200") << own;
  for (const char* foreign :
       {"example.org", "localhost.example.org", "node11", "node", "", "127.0.0.1.example.org", "["}) {
    EXPECT_EQ(status_for_host(foreign), "421") << foreign;
    EXPECT_EQ(status_for_host(foreign, "/events"), "421") << foreign;
  }
}

TEST_F(Serving, ClosesAfterWhatIsTooLargeOrNoHttp) {
  const std::string too_long(9 << 10, 'x');
  for (const std::string& bad :
       {"GET /" + too_long + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + too_long + "\r\n\r\n",
        std::string("POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"),
        "POST /stop HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + too_long,
        std::string("\x16\x03\x01\x02\x00 this is TLS \r\n\r\n"), std::string("GET /\r\n\r\n")}) {
    HttpPeer peer(server_->port());
    peer.say(bad);
    EXPECT_THAT(peer.rest(), Not(HasSubstr("200"))) << bad.substr(0, 60);
  }
  EXPECT_EQ(answered_, 0);
  EXPECT_EQ(status_for_host("localhost"), "200") << "others are served as before";
}

TEST_F(Serving, OnesThatAreSlowHoldNobodyUp) {
  HttpPeer idle(server_->port()), half(server_->port()), half_a_body(server_->port());
  half.say("GET / HTTP/1.1\r\nHost: loc");
  half_a_body.say("POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345");
  EXPECT_EQ(status_for_host("localhost"), "200");
  half.say("alhost\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(half.rest(), HasSubstr("GET /"));
  half_a_body.say("67890");
  EXPECT_EQ(half_a_body.answer().second, "POST /stop");
}

TEST_F(Serving, TurnsAwayWhoComesWhenAllPlacesAreTaken) {
  std::list<HttpPeer> peers;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    peers.emplace_back(server_->port()).get("/");
    EXPECT_EQ(peers.back().answer().second, "GET /");
  }
  HttpPeer late(server_->port());
  EXPECT_TRUE(late.sees_close());
  peers.front().close();
  // Its place is free when the server has noticed, which no answer tells.
  const auto give_up = std::chrono::steady_clock::now() + kHttpPatience;
  std::string answer;
  while (answer.empty() && std::chrono::steady_clock::now() < give_up) {
    HttpPeer next(server_->port());
    next.get("/", "Connection: close\r\n");
    answer = next.rest();
  }
  EXPECT_THAT(answer, HasSubstr("200 OK"));
}

TEST_F(Serving, StreamsTheWholeThenWhatIsNewAndTheLastAtTheEnd) {
  events_ = 5;
  HttpPeer peer(server_->port());
  peer.get("/events");
  const std::string head = peer.read_to("\n\n");
  EXPECT_THAT(
      head, AllOf(StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"), HasSubstr("data: from 0\n\n")));
  events_ = 9;
  EXPECT_EQ(peer.read_to("\n\n"), "data: from 5\n\n");
  events_ = 12;
  const Duration took = end();
  const std::string rest = peer.rest();
  EXPECT_TRUE(rest == "data: from 9\n\n" || rest == "data: from 9\n\ndata: from 12\n\n") << rest;
  EXPECT_LT(took, 1s);
}

TEST_F(Serving, EndsWithinASecondWhateverItsPeersDo) {
  event_bytes_ = 8 << 20;
  HttpPeer idle(server_->port()), half(server_->port()), stuck(server_->port(), 4096), taking(server_->port());
  half.say("POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123");
  stuck.get("/events");
  EXPECT_THAT(stuck.read_to("data: "), HasSubstr("200 OK")) << "and it takes no more";
  EXPECT_EQ(status_for_host("localhost"), "200");
  EXPECT_LT(end(), 1s);
  EXPECT_TRUE(idle.sees_close());
  EXPECT_TRUE(half.sees_close());
}

TEST_F(Serving, EndsWhileSomebodyConnects) {
  for (int round = 0; round < 50; ++round) {
    std::promise<void> waiting, go_on;
    loop_.post([&] {
      waiting.set_value();
      go_on.get_future().wait();
    });
    waiting.get_future().wait();
    const HttpPeer peer(server_->port());  // the system takes it, the loop has not seen it
    std::promise<void> ending;
    std::thread other([&] {
      ending.set_value();
      server_.reset();
    });
    ending.get_future().wait();
    std::this_thread::yield();
    go_on.set_value();
    other.join();
    start();
  }
}

TEST_F(Serving, WithoutDescriptorsForMoreConnectionsItWaitsForSome) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs a descriptor of its own to look whether an object is one";
#endif
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  HttpPeer early(server_->port());
  early.get("/");
  EXPECT_EQ(early.answer().second, "GET /");
  const int next = ::dup(0);
  ::close(next);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next) + 1;  // one more: the client's
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  HttpPeer late(server_->port());
  const Duration cpu_before = UsageMeter().read().cpu;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; std::chrono::steady_clock::now() - begin < 400ms; ++i) {
    early.get("/");
    EXPECT_EQ(early.answer().second, "GET /");
    std::this_thread::sleep_for(20ms);  // what is measured is a rate
  }
  const Duration busy = UsageMeter().read().cpu - cpu_before;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_LT(busy, 200ms);
  late.get("/late", "Connection: close\r\n");
  EXPECT_THAT(late.rest(), HasSubstr("GET /late"));
}

TEST_F(Serving, APortThatIsTakenIsNamed) {
  const auto second = HttpServer::listen(loop_, {"127.0.0.1", server_->port(), "node1"}, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
  EXPECT_THAT(second.error().text(),
              HasSubstr("127.0.0.1:" + std::to_string(server_->port()) + " cannot be served: Address already in use"));
  EXPECT_THAT(HttpServer::listen(loop_, {"nowhere", 0, "node1"}, {}).error().text(),
              HasSubstr("nowhere:0 cannot be served"));
}

}  // namespace
}  // namespace tutti::testing
