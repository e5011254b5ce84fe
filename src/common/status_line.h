// SPDX-License-Identifier: Apache-2.0
// The last line of a terminal, redrawn in place, and what else is written to it: that appears above, on lines of its
// own. Where there is no terminal, each status is a plain line. Nothing here knows what the lines say.
// Thread safety: StatusLine may be called from any thread, StatusMarks from one at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "common/config.h"

namespace tutti {

/// Takes what stands in the cursor's line away.
inline constexpr std::string_view kEraseLine = "\r\x1b[K";

/// Whether lines can be redrawn there.
bool is_terminal(int fd, const Environment& environment);
/// On a terminal, unless NO_COLOR is set and not empty.
bool wants_colours(const Environment& environment);
/// The width of the terminal; COLUMNS where it does not tell, 80 where that does not either.
int columns_of(int fd, const Environment& environment);

/// The first `columns` characters, each taken for one column wide, without those that move the cursor.
std::string cut(std::string_view text, int columns);

class StatusLine {
 public:
  using Write = std::function<void(int fd, std::string_view bytes)>;
  struct Options {
    bool out_terminal = false;          ///< stdout: where the line is drawn
    bool err_terminal = false;          ///< stderr
    bool colours = false;               ///< of the line
    bool shared = false;                ///< other processes draw on the terminal, too
    std::function<int()> columns = {};  ///< asked for each time the line is drawn
  };
  StatusLine(Options options, Write write) : options_(std::move(options)), write_(std::move(write)) {}

  /// The line as it is from now on; empty: there is none.
  void show(std::string_view text);
  /// Anything else that is for stdout or stderr. A line that it leaves open is waited for: until it has ended, nothing
  /// is drawn.
  void write(int fd, std::string_view bytes);
  bool on_terminal() const noexcept { return options_.out_terminal; }

 private:
  void draw();
  void erase();

  const Options options_;
  const Write write_;
  std::mutex mutex_;
  std::string text_;        // guarded by mutex_
  bool drawn_ = false;      // guarded by mutex_
  bool line_open_ = false;  // guarded by mutex_
};

/// A status on its way through a pipe, between the other bytes. A terminal that it reached would show nothing of it.
std::string marked_status(std::string_view text);

/// Parts what marked_status() has put between other bytes, whichever way the pipe cuts them.
class StatusMarks {
 public:
  template <class OnBytes, class OnStatus>
  void feed(std::string_view bytes, OnBytes&& on_bytes, OnStatus&& on_status) {
    held_ += bytes;
    for (Part part = next(); part.is_status || !part.text.empty(); part = next()) {
      if (part.is_status)
        on_status(part.text);
      else
        on_bytes(part.text);
    }
  }
  /// What is left when the stream has ended.
  template <class OnBytes>
  void flush(OnBytes&& on_bytes) {
    if (!held_.empty()) on_bytes(std::exchange(held_, {}));
  }

 private:
  struct Part {
    bool is_status = false;
    std::string text;
  };
  Part next();
  Part take(std::size_t size);

  std::string held_;
};

}  // namespace tutti
