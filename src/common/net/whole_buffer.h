// SPDX-License-Identifier: Apache-2.0
// A completion condition for composed reads and writes: all of it. Asio's own transfer_all hands the system 64 KiB at a
// time.
// Thread safety: functions without state.
#pragma once

#include <boost/system/error_code.hpp>
#include <cstddef>
#include <limits>

namespace tutti {

struct WholeBuffer {
  std::size_t operator()(const boost::system::error_code& error, std::size_t) const {
    return error ? 0 : std::numeric_limits<std::size_t>::max();
  }
};

}  // namespace tutti
