// SPDX-License-Identifier: Apache-2.0
// HTTP for browsers, scrapers and `tutti status`: answers GET and POST, and streams events. It believes nothing that it
// is sent: requests are small, connections are few, each has a deadline, and a name that is not this machine's own is
// refused (a page of somebody else's cannot be made to read this one through its visitors' browser).
// Thread safety: made and destroyed by any thread but the loop's; what it calls runs on the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/result.h"

namespace tutti::monitor {

struct HttpRequest {
  std::string method;                        ///< "GET" or "POST"
  std::string path;                          ///< "/log"
  std::map<std::string, std::string> query;  ///< of "?role=worker&rank=3"; percent signs are left as they are
  std::string token;                         ///< of "Authorization: Bearer ..."; empty: none
};

struct HttpResponse {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body = {};
};

class HttpServer {
 public:
  struct Options {
    std::string address;     ///< IPv4
    std::uint16_t port = 0;  ///< 0: any free one
    std::string host;        ///< this machine's name
  };
  struct Handlers {
    std::function<HttpResponse(const HttpRequest&)> answer;
    /// For GET /events: what a reader that has all up to `cursor` has not, and moves the cursor.
    std::function<std::string(std::uint64_t& cursor)> next_event;
  };
  /// Errors: kUnavailable, naming address and port.
  static Result<std::unique_ptr<HttpServer>> listen(Loop& loop, Options options, Handlers handlers);
  /// Streams get what there is, then everything is closed; a peer that takes nothing is waited for half a second.
  ~HttpServer();

  std::uint16_t port() const noexcept;

 private:
  HttpServer() = default;
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti::monitor
