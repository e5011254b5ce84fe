// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/http_server.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <future>
#include <list>
#include <string_view>
#include <utility>

namespace tutti::monitor {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using namespace std::chrono_literals;

constexpr std::size_t kConnectionsMax = 64;
constexpr std::uint32_t kHeaderBytesMax = 8 << 10;
constexpr std::uint64_t kBodyBytesMax = 4 << 10;
constexpr auto kPatience = 30s;  // with a peer that sends or takes nothing
constexpr auto kBetweenEvents = 1s;
// After the system could not give a connection, for lack of descriptors say.
constexpr auto kAcceptPause = 100ms;
constexpr auto kPartingPatience = 500ms;

constexpr int kNotAllowed = 405, kMisdirected = 421;

/// The page loads nothing from anywhere, and nobody may frame it.
constexpr const char* kPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

bool is_number(std::string_view host) {
  boost::system::error_code error;
  asio::ip::make_address(std::string(host), error);
  return !error;
}

/// "node1:8080" to "node1"; "[::1]:8080" to "::1".
std::string_view name_in(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, std::min(host.find(']'), host.size()) - 1);
  return host.substr(0, host.find(':'));
}

/// Names of machines are the same in capital letters; browsers write small ones.
bool is_own_name(std::string_view host, std::string_view own) {
  const std::string_view name = name_in(host);
  const std::string_view begin = name.substr(0, own.size()), rest = name.substr(begin.size());
  const bool is_own = !own.empty() && beast::iequals(begin, own) && (rest.empty() || rest.starts_with('.'));
  return beast::iequals(name, "localhost") || is_own || is_number(name);
}

HttpRequest request_of(const http::request<http::string_body>& message) {
  HttpRequest request;
  request.method = message.method_string();
  const std::string_view target = view(message.target());
  const std::size_t question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  std::string_view query = target.substr(std::min(question + 1, target.size()));
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    const std::size_t equals = std::min(part.find('='), part.size());
    request.query[std::string(part.substr(0, equals))] = part.substr(std::min(equals + 1, part.size()));
    query.remove_prefix(std::min(part.size() + 1, query.size()));
  }
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view authorization = view(message[http::field::authorization]);
  if (authorization.starts_with(kBearer)) request.token = authorization.substr(kBearer.size());
  return request;
}

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<Impl> {
  using Message = http::request<http::string_body>;
  struct Peer {
    explicit Peer(tcp::socket socket) : stream(std::move(socket)), pause(stream.get_executor()) {}
    beast::tcp_stream stream;
    asio::steady_timer pause;  // between two events
    bool is_streaming = false;
  };

  Impl(Loop& loop_, Options options_, Handlers handlers_)
      : loop(loop_),
        options(std::move(options_)),
        handlers(std::move(handlers_)),
        acceptor(loop_.context()),
        accept_pause(loop_.context()),
        parting(loop_.context()) {}

  Result<> listen();
  void end();
  asio::awaitable<void> accept(std::shared_ptr<Impl> self);
  asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::list<Peer>::iterator peer);
  asio::awaitable<bool> answer(Peer& peer, const Message& message);
  asio::awaitable<void> stream_events(Peer& peer);
  HttpResponse response_to(const Message& message) const;

  Loop& loop;
  const Options options;
  const Handlers handlers;
  tcp::acceptor acceptor;
  asio::steady_timer accept_pause, parting;
  std::uint16_t port = 0;
  std::list<Peer> peers;
  bool is_ending = false;
  std::promise<void> all_gone;
};

Result<> HttpServer::Impl::listen() {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  const tcp::endpoint endpoint(address, options.port);
  if (!error) acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(static_cast<int>(kConnectionsMax), error);
  if (error) {
    return fail(Errc::kUnavailable,
                options.address + ":" + std::to_string(options.port) + " cannot be served: " + error.message());
  }
  port = acceptor.local_endpoint().port();
  asio::co_spawn(loop.context(), accept(shared_from_this()), asio::detached);
  return {};
}

// One that comes when all places are taken is turned away at once.
asio::awaitable<void> HttpServer::Impl::accept([[maybe_unused]] std::shared_ptr<Impl> self) {
  while (acceptor.is_open()) {
    boost::system::error_code error;
    tcp::socket socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (is_ending) co_return;
    if (error) {
      accept_pause.expires_after(kAcceptPause);
      co_await accept_pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    if (peers.size() >= kConnectionsMax) continue;
    const auto peer = peers.emplace(peers.end(), std::move(socket));
    asio::co_spawn(loop.context(), serve(self, peer), asio::detached);
  }
}

asio::awaitable<void> HttpServer::Impl::serve([[maybe_unused]] std::shared_ptr<Impl> self,
                                              std::list<Peer>::iterator peer) {
  beast::flat_buffer buffer;
  for (bool goes_on = true; goes_on && !is_ending;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(kHeaderBytesMax);
    parser.body_limit(kBodyBytesMax);
    boost::system::error_code error;
    peer->stream.expires_after(kPatience);
    co_await http::async_read(peer->stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    goes_on = co_await answer(*peer, parser.get());
  }
  boost::system::error_code ignored;
  peer->stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
  peers.erase(peer);
  if (!is_ending || !peers.empty()) co_return;
  parting.cancel();
  all_gone.set_value();
}

asio::awaitable<bool> HttpServer::Impl::answer(Peer& peer, const Message& message) {
  const bool is_stream = message.method() == http::verb::get && view(message.target()) == "/events";
  if (is_stream && is_own_name(view(message[http::field::host]), options.host)) {
    co_await stream_events(peer);
    co_return false;
  }
  HttpResponse content = response_to(message);
  http::response<http::string_body> response(static_cast<http::status>(content.status), message.version());
  response.set(http::field::content_type, content.type);
  response.set(http::field::cache_control, "no-store");
  response.set("Content-Security-Policy", kPolicy);
  response.set("X-Content-Type-Options", "nosniff");
  response.set("Referrer-Policy", "no-referrer");
  // What was refused may be followed by anything.
  const bool goes_on = message.keep_alive() && content.status != kNotAllowed && content.status != kMisdirected;
  response.keep_alive(goes_on);
  response.body() = std::move(content.body);
  response.prepare_payload();
  if (message.method() == http::verb::head) response.body().clear();
  boost::system::error_code error;
  peer.stream.expires_after(kPatience);
  co_await http::async_write(peer.stream, response, asio::redirect_error(asio::use_awaitable, error));
  co_return !error && goes_on;
}

HttpResponse HttpServer::Impl::response_to(const Message& message) const {
  const std::string_view host = view(message[http::field::host]);
  if (!is_own_name(host, options.host))
    return {.status = kMisdirected,
            .body = "'" + std::string(host.substr(0, 100)) + "' is not a name of this machine\n"};
  if (message.method() != http::verb::get && message.method() != http::verb::post)
    return {.status = kNotAllowed, .body = "expected GET or POST\n"};
  return handlers.answer(request_of(message));
}

// The last event is written at the end, too: it says how the run ended.
asio::awaitable<void> HttpServer::Impl::stream_events(Peer& peer) {
  constexpr std::string_view kHeader =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: "
      "close\r\n\r\nretry: 1000\n";
  peer.is_streaming = true;
  std::uint64_t cursor = 0;
  std::string bytes(kHeader);
  for (bool is_last = false; !is_last;) {
    is_last = is_ending;
    bytes += "data: " + handlers.next_event(cursor) + "\n\n";
    boost::system::error_code error;
    peer.stream.expires_after(is_last ? Duration(kPartingPatience) : Duration(kPatience));
    co_await asio::async_write(peer.stream, asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    bytes.clear();
    if (is_last || is_ending) continue;
    peer.pause.expires_after(kBetweenEvents);
    co_await peer.pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

void HttpServer::Impl::end() {
  is_ending = true;
  acceptor.close();
  accept_pause.cancel();
  if (peers.empty()) return all_gone.set_value();
  for (Peer& peer : peers) {
    if (peer.is_streaming)
      peer.pause.cancel();
    else
      peer.stream.cancel();
  }
  parting.expires_after(kPartingPatience);
  parting.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error) return;
    for (Peer& peer : self->peers) peer.stream.cancel();
  });
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(Loop& loop, Options options, Handlers handlers) {
  auto impl = std::make_shared<Impl>(loop, std::move(options), std::move(handlers));
  TUTTI_TRY(loop.run([&] { return impl->listen(); }));
  std::unique_ptr<HttpServer> server(new HttpServer);
  server->impl_ = std::move(impl);
  return server;
}

HttpServer::~HttpServer() {
  if (!impl_) return;
  impl_->loop.run([this] { impl_->end(); });
  impl_->all_gone.get_future().wait();
}

std::uint16_t HttpServer::port() const noexcept {
  return impl_->port;
}

}  // namespace tutti::monitor
