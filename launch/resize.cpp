// SPDX-License-Identifier: Apache-2.0
#include "launch/resize.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <chrono>
#include <span>

#include "common/config.h"
#include "common/file.h"
#include "launch/complain.h"

namespace tutti::launch {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(500);
constexpr std::size_t kWishBytesMax = 16;

std::string wish_file(const std::string& run_folder) {
  return run_folder + "/workers.wanted";
}

/// Takes the wish away; 0: there was none.
int take_wish(const std::string& path) {
  const auto text = read_file(path, kWishBytesMax);
  if (!text) return 0;
  ::unlink(path.c_str());
  int workers = 0;
  std::from_chars(text->data(), text->data() + text->size(), workers);
  return workers;
}

}  // namespace

Result<> leave_wish(const std::string& run_folder, int workers) {
  auto config = load_config(run_folder + "/config.toml", {}, {});
  if (!config) return fail(Errc::kUsage, run_folder + " is not the folder of a run: " + config.error().text());
  const WorkerRange range = config->worker_range;
  if (range.is_fixed()) {
    return fail(Errc::kUsage, fmt::format("the run has a fixed number of workers; one that is started with "
                                          "workers=2:8 can change it"));
  }
  if (workers < range.least || workers > range.most) {
    return fail(Errc::kUsage, fmt::format("found {} workers, expected {} to {}", workers, range.least, range.most));
  }
  return replace_file(wish_file(run_folder), std::to_string(workers), 0600);
}

int execute(const ResizeCommand& command) {
  const auto left = leave_wish(command.folder, command.workers);
  return left ? 0 : complain(left.error());
}

struct WishReader::Impl : std::enable_shared_from_this<Impl> {
  Impl(Loop& loop, std::string path_, OnWish on_wish_)
      : path(std::move(path_)), on_wish(std::move(on_wish_)), timer(loop.context()) {}

  void look() {
    if (stopped) return;
    if (const int workers = take_wish(path); workers > 0) on_wish(workers);
    timer.expires_after(kLookEvery);
    timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->look();
    });
  }

  const std::string path;
  const OnWish on_wish;
  boost::asio::steady_timer timer;
  bool stopped = false;
};

WishReader::WishReader(Loop& loop, const std::string& run_folder, OnWish on_wish)
    : loop_(loop), impl_(std::make_shared<Impl>(loop, wish_file(run_folder), std::move(on_wish))) {
  loop_.post([impl = impl_] { impl->look(); });
}

WishReader::~WishReader() {
  loop_.run([this] {
    impl_->stopped = true;
    impl_->timer.cancel();
  });
}

}  // namespace tutti::launch
