// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/http_client.h"

#include <gmock/gmock.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <future>
#include <thread>

#include "common/monitor/http_server.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using HttpTcp = boost::asio::ip::tcp;

std::string url_of_port(std::uint16_t port) {
  return "http:" + ("//127.0.0.1:" + std::to_string(port)) + "/";
}

/// Answers its first connection with the same bytes whatever it is asked, then closes.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer) : acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}) {
    thread_ = std::thread([this, answer = std::move(answer)] {
      HttpTcp::socket peer(context_);
      boost::system::error_code error;
      acceptor_.accept(peer, error);
      boost::asio::streambuf request;
      boost::asio::read_until(peer, request, "\r\n\r\n", error);
      boost::asio::write(peer, boost::asio::buffer(answer), error);
    });
  }
  ~OneAnswer() { thread_.join(); }
  std::string url() const { return url_of_port(acceptor_.local_endpoint().port()); }

 private:
  boost::asio::io_context context_;
  HttpTcp::acceptor acceptor_;
  std::thread thread_;
};

TEST(HttpGet, BringsTheBody) {
  Loop loop;
  monitor::HttpServer::Handlers handlers;
  handlers.answer = [](const monitor::HttpRequest& request) {
    return monitor::HttpResponse{.status = request.path == "/large" ? 200 : 404, .body = std::string(3 << 20, 'x')};
  };
  const auto server = monitor::HttpServer::listen(loop, {"127.0.0.1", 0, "node1"}, handlers).value();
  EXPECT_EQ(monitor::http_get(url_of_port(server->port()), "/large", 20s).value().size(), 3u << 20);
  const auto missing = monitor::http_get(url_of_port(server->port()), "/other", 20s);
  EXPECT_EQ(missing.error().code, Errc::kProtocol);
  EXPECT_THAT(missing.error().text(), HasSubstr("answers 404"));
}

TEST(HttpGet, SaysThatNobodyListens) {
  boost::asio::io_context context;
  HttpTcp::acceptor taken(context, {boost::asio::ip::address_v4::loopback(), 0}, false);
  const std::string url = url_of_port(taken.local_endpoint().port());
  taken.close();
  const auto text = monitor::http_get(url, "/", 20s);
  EXPECT_EQ(text.error().code, Errc::kUnavailable);
  EXPECT_THAT(text.error().text(), StartsWith(url + " does not answer: Connection refused"));
}

TEST(HttpGet, GivesUpOnWhoAnswersNothing) {
  boost::asio::io_context context;
  const HttpTcp::acceptor silent(context, {boost::asio::ip::address_v4::loopback(), 0});
  const auto begin = std::chrono::steady_clock::now();
  const auto text = monitor::http_get(url_of_port(silent.local_endpoint().port()), "/", 100ms);
  EXPECT_EQ(text.error().code, Errc::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(HttpGet, RefusesAnAnswerThatIsCutOrIsNone) {
  for (const char* bad : {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "SSH-2.0-x\r\n\r\n", ""}) {
    const OneAnswer server(bad);
    EXPECT_EQ(monitor::http_get(server.url(), "/", 20s).error().code, Errc::kUnavailable) << bad;
  }
}

TEST(HttpGet, RefusesWhatIsNoAddress) {
  for (const char* bad : {"", "https://127.0.0.1:1/", "http://127.0.0.1/", "http://localhost:80/",
                          "http://127.0.0.1:99999/", "http://127.0.0.1:8x/"}) {
    const auto text = monitor::http_get(bad, "/", 1s);
    EXPECT_EQ(text.error().code, Errc::kUsage) << bad;
    EXPECT_THAT(text.error().text(), HasSubstr("expected an address like http://127.0.0.1:41234/"));
  }
}

}  // namespace
}  // namespace tutti::testing
