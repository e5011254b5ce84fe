// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/monitor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <filesystem>
#include <span>
#include <utility>

#include "common/file.h"
#include "common/monitor/http_server.h"
#include "common/monitor/page.h"
#include "common/monitor/prometheus_view.h"
#include "common/monitor/state_json.h"
#include "common/net/loop.h"
#include "common/secret.h"

namespace tutti::monitor {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLogTailBytes = 16 << 10;
// The history's pace: every second at first, later less often, so that a run of weeks leaves a file that can be read.
constexpr std::pair<Duration, Duration> kPaces[] = {{10min, 1s}, {1h, 5s}, {24h, 30s}};
constexpr Duration kSlowestPace = 120s;

Duration pace_after(Duration age) {
  for (const auto& [until, pace] : kPaces) {
    if (age < until) return pace;
  }
  return kSlowestPace;
}

HttpResponse words(int status, std::string text) {
  return {.status = status, .body = std::move(text) + "\n"};
}

std::string tail_of(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return "";
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(kLogTailBytes));
  std::string text(static_cast<std::size_t>(std::max<off_t>(0, size - begin)), '\0');
  const ssize_t read = ::pread(file.get(), text.data(), text.size(), begin);
  text.resize(read < 0 ? 0 : static_cast<std::size_t>(read));
  if (begin > 0) text.erase(0, text.find('\n') + 1);  // the rest of a line says nothing
  return text;
}

bool is_same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

struct Monitor::Impl {
  Impl(Options options_, const Clock& clock_, Logger log_)
      : options(std::move(options_)),
        clock(clock_),
        log(std::move(log_)),
        board(options.facts, now()),
        token(hex(random_nonce())),
        timer(loop.context()) {}

  Result<> start();
  Result<> write_address() const;
  Moment now() const;
  HttpResponse answer(const HttpRequest& request);
  HttpResponse obey(const HttpRequest& request, Wish wish) const;
  HttpResponse log_of(const HttpRequest& request) const;
  Coordinator::Figures look();
  std::string state_after(std::uint64_t number);
  void write_history();

  const Options options;
  const Clock& clock;
  const Logger log;
  RunBoard board;  // owned by the loop
  const std::string token;
  std::string url;
  FileDescriptor history;
  std::uint64_t written = 0;  // the newest that the history has
  TimePoint began{};
  Loop loop;
  boost::asio::steady_timer timer;
  std::unique_ptr<HttpServer> server;
  bool is_closed = false;  // nobody is asked any more
};

Moment Monitor::Impl::now() const {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return {clock.now(), std::chrono::duration<double>(since_1970).count()};
}

Result<> Monitor::Impl::start() {
  began = clock.now();
  const std::string path = options.folder + "/" + kHistoryFile;
  history = FileDescriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  if (history.get() < 0) return fail_errno("cannot write " + path, errno);
  HttpServer::Handlers handlers;
  handlers.answer = [this](const HttpRequest& request) { return answer(request); };
  handlers.next_event = [this](std::uint64_t& cursor) { return state_after(std::exchange(cursor, board.newest())); };
  auto listening = HttpServer::listen(loop, {options.address, options.port, options.host}, std::move(handlers));
  if (!listening) return std::move(listening).error();
  server = std::move(*listening);
  url = "http:" + fmt::format("//{}:{}/", options.address, server->port());
  TUTTI_TRY(write_address());
  loop.run([this] { write_history(); });
  return {};
}

// The token is in it: for its owner only, and never half.
Result<> Monitor::Impl::write_address() const {
  const std::string text = boost::json::serialize(boost::json::object{{"url", url}, {"token", token}}) + "\n";
  return replace_file(options.folder + "/" + kAddressFile, text, 0600);
}

HttpResponse Monitor::Impl::answer(const HttpRequest& request) {
  const bool is_get = request.method == "GET";
  if (is_get && request.path == "/") return {.type = "text/html; charset=utf-8", .body = std::string(kPage)};
  if (is_get && request.path == "/state.json") return {.type = "application/json", .body = state_after(0)};
  if (is_get && request.path == "/metrics") {
    const Coordinator::Figures figures = look();
    const Refused refused{figures.refused_handshakes, figures.stale_frames};
    return {.type = "text/plain; version=0.0.4; charset=utf-8",
            .body = PrometheusView(board, refused, clock.now()).text()};
  }
  if (is_get && request.path == "/log") return log_of(request);
  if (!is_get && request.path == "/checkpoint") return obey(request, Wish::kCheckpoint);
  if (!is_get && request.path == "/stop") return obey(request, Wish::kStop);
  return words(404, "there is no " + request.method + " " + request.path.substr(0, 100));
}

HttpResponse Monitor::Impl::obey(const HttpRequest& request, Wish wish) const {
  if (!is_same(request.token, token))
    return words(401, fmt::format("the token is wrong: {}/{} has it", options.folder, kAddressFile));
  if (wish == Wish::kCheckpoint && !board.facts().can_save)
    return words(409, "the run has no checkpoint_dir to save to");
  if (!options.ask) return words(409, "nobody can be asked");
  if (const auto asked = options.ask(wish); !asked) return words(409, asked.error().text());
  return words(202, wish == Wish::kStop ? "the run stops after this step" : "the run saves after this step");
}

HttpResponse Monitor::Impl::log_of(const HttpRequest& request) const {
  const auto role = request.query.find("role"), rank = request.query.find("rank");
  if (role == request.query.end() || rank == request.query.end()) return words(400, "expected role and rank");
  for (const auto& [member, row] : board.rows()) {
    const bool is_worker = member.role == Role::kWorker;
    if (member.role == Role::kAgent || role->second != (is_worker ? "worker" : "server") ||
        rank->second != std::to_string(member.rank))
      continue;
    return {.body = tail_of(fmt::format("{}/{}-{}.log", options.folder, is_worker ? "rank" : "shard", member.rank))};
  }
  return words(404, "the run has no such process");
}

Coordinator::Figures Monitor::Impl::look() {
  if (!options.figures) return {};
  Coordinator::Figures figures = options.figures();
  board.set_steps(figures.steps);
  return figures;
}

std::string Monitor::Impl::state_after(std::uint64_t number) {
  look();
  return state_json(board, number, now());
}

// A disk that is full costs the history, not the run.
void Monitor::Impl::write_history() {
  if (history.get() >= 0) {
    const std::string line = state_after(std::exchange(written, board.newest())) + "\n";
    const auto done = write_all(history.get(), std::as_bytes(std::span(line)), kHistoryFile);
    if (!done) log.warning("the run's history ends here: {}", done.error().text());
    if (!done) history = {};
  }
  timer.expires_after(pace_after(clock.now() - began));
  timer.async_wait([this](const boost::system::error_code& error) {
    if (!error && !is_closed) write_history();
  });
}

Monitor::Monitor() = default;

Result<std::unique_ptr<Monitor>> Monitor::start(Options options, const Clock& clock, Logger log) {
  std::unique_ptr<Monitor> monitor(new Monitor);
  monitor->impl_ = std::make_unique<Impl>(std::move(options), clock, std::move(log));
  TUTTI_TRY(monitor->impl_->start());
  return monitor;
}

Monitor::~Monitor() {
  close();
}

void Monitor::close() {
  if (!impl_ || !impl_->server) return;
  impl_->server.reset();
  impl_->loop.run([this] {
    impl_->write_history();
    impl_->is_closed = true;  // the timer may have run out already
    impl_->timer.cancel();
  });
  ::unlink((impl_->options.folder + "/" + kAddressFile).c_str());
}

void Monitor::heard(const MemberId& from, const Report& report) {
  impl_->loop.post([impl = impl_.get(), from, report] { impl->board.heard(from, report, impl->now()); });
}

void Monitor::happened(const Happening& happening) {
  impl_->loop.post([impl = impl_.get(), happening] { impl->board.happened(happening, impl->now()); });
}

const std::string& Monitor::url() const noexcept {
  return impl_->url;
}

}  // namespace tutti::monitor
