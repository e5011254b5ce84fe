// SPDX-License-Identifier: Apache-2.0
// Thread safety: the loop's thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <utility>

#include "common/clock.h"

namespace tutti {

/// Calls `then` once, on the loop, unless that ends before. It says itself whether whom it needs still lives.
template <class Then>
void later(boost::asio::io_context& context, Duration pause, Then then) {
  const auto timer = std::make_shared<boost::asio::steady_timer>(context, pause);
  timer->async_wait([timer, then = std::move(then)](boost::system::error_code) mutable { then(); });
}

}  // namespace tutti
