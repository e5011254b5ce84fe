// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/http_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <optional>

namespace tutti::monitor {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::uint64_t kAnswerBytesMax = 256u << 20;  // a state of very many ranks

/// Of "http://127.0.0.1:41234/": the address stands there in numbers.
std::optional<asio::ip::tcp::endpoint> endpoint_of(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  url.remove_prefix(kScheme.size());
  url = url.substr(0, url.find('/'));
  const std::size_t colon = url.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::uint16_t port = 0;
  const std::string_view digits = url.substr(colon + 1);
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  boost::system::error_code error;
  const auto address = asio::ip::make_address(std::string(url.substr(0, colon)), error);
  if (error || wrong != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return asio::ip::tcp::endpoint(address, port);
}

}  // namespace

Result<std::string> http_get(const std::string& url, const std::string& path, Duration timeout) {
  const auto endpoint = endpoint_of(url);
  if (!endpoint) return fail(Errc::kUsage, "found '" + url + "', expected an address like http://127.0.0.1:41234/");
  asio::io_context context;
  beast::tcp_stream stream(context);
  stream.expires_after(timeout);
  http::request<http::empty_body> request(http::verb::get, path, 11);
  request.set(http::field::host, endpoint->address().to_string());
  request.keep_alive(false);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kAnswerBytesMax);
  boost::system::error_code outcome = asio::error::would_block;
  stream.async_connect(*endpoint, [&](const boost::system::error_code& connected) {
    outcome = connected;
    if (connected) return;
    http::async_write(stream, request, [&](const boost::system::error_code& written, std::size_t) {
      outcome = written;
      if (written) return;
      http::async_read(stream, buffer, parser,
                       [&](const boost::system::error_code& read, std::size_t) { outcome = read; });
    });
  });
  context.run();
  if (outcome) return fail(Errc::kUnavailable, url + " does not answer: " + outcome.message());
  if (parser.get().result() != http::status::ok)
    return fail(Errc::kProtocol, url + " answers " + std::to_string(parser.get().result_int()));
  return std::move(parser.get().body());
}

}  // namespace tutti::monitor
