// SPDX-License-Identifier: Apache-2.0
#include "common/status_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "common/utf8.h"

namespace tutti {
namespace {

constexpr int kColumnsElsewhere = 80;
constexpr std::string_view kColour = "\x1b[36m";
constexpr std::string_view kNoColour = "\x1b[0m";

// An "application program command", which terminals pass over.
constexpr std::string_view kMark = "\x1b_tutti status:";
constexpr std::string_view kMarkEnd = "\x1b\\";
constexpr std::size_t kStatusBytesMax = 4 << 10;

std::string_view value_of(const Environment& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string_view() : std::string_view(found->second);
}

/// U+0080 to U+009F, in UTF-8: what ESC and another character do, in one.
bool is_control(std::string_view two) {
  const auto second = static_cast<unsigned char>(two.back());
  return two.size() == 2 && two[0] == '\xC2' && 0x80 <= second && second < 0xA0;
}

/// How many bytes at the end of `text` may be the beginning of a mark.
std::size_t begun_mark(std::string_view text) {
  for (std::size_t size = std::min(text.size(), kMark.size() - 1); size > 0; --size) {
    if (text.ends_with(kMark.substr(0, size))) return size;
  }
  return 0;
}

}  // namespace

std::string cut(std::string_view text, int columns) {
  std::string shown;
  int used = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto code = static_cast<unsigned char>(text[i]);
    if (code < 0x20 || code == 0x7F) continue;
    if (is_control(text.substr(i, 2))) {
      ++i;
      continue;
    }
    if (begins_character(text[i]) && used++ >= columns) break;
    shown += text[i];
  }
  return shown;
}

bool is_terminal(int fd, const Environment& environment) {
  return ::isatty(fd) == 1 && value_of(environment, "TERM") != "dumb";
}

bool wants_colours(const Environment& environment) {
  return value_of(environment, "NO_COLOR").empty();
}

int columns_of(int fd, const Environment& environment) {
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const std::string_view text = value_of(environment, "COLUMNS");
  int columns = 0;
  std::from_chars(text.data(), text.data() + text.size(), columns);
  return columns > 0 ? columns : kColumnsElsewhere;
}

void StatusLine::show(std::string_view text) {
  const std::lock_guard lock(mutex_);
  text_ = text;
  if (options_.out_terminal) {
    if (text_.empty()) return erase();
    if (!line_open_) draw();
  } else if (!text_.empty()) {
    write_(STDOUT_FILENO, text_ + "\n");
  }
}

void StatusLine::write(int fd, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes.empty()) return;
  const bool seen = fd == STDERR_FILENO ? options_.err_terminal : options_.out_terminal;
  if (!seen) return write_(fd, bytes);
  // In one write: what other processes write comes before or after.
  const bool erases = !line_open_ && (drawn_ || options_.shared);
  write_(fd, std::string(erases ? kEraseLine : "").append(bytes));
  drawn_ = false;
  line_open_ = bytes.back() != '\n';
  if (!line_open_ && !text_.empty() && options_.out_terminal) draw();
}

void StatusLine::draw() {
  // The last column stays free: a cursor behind it would be in the next line already.
  const std::string shown = cut(text_, std::max(options_.columns() - 1, 0));
  std::string bytes(kEraseLine);
  if (options_.colours) bytes += kColour;
  bytes += shown;
  if (options_.colours) bytes += kNoColour;
  write_(STDOUT_FILENO, bytes);
  drawn_ = true;
}

void StatusLine::erase() {
  if (drawn_) write_(STDOUT_FILENO, kEraseLine);
  drawn_ = false;
}

std::string marked_status(std::string_view text) {
  std::string marked(kMark);
  std::ranges::copy_if(text.substr(0, kStatusBytesMax), std::back_inserter(marked),
                       [](char byte) { return byte != kMarkEnd.front(); });
  return marked.append(kMarkEnd);
}

StatusMarks::Part StatusMarks::take(std::size_t size) {
  Part part{false, held_.substr(0, size)};
  held_.erase(0, size);
  return part;
}

StatusMarks::Part StatusMarks::next() {
  const std::size_t begin = held_.find(kMark);
  if (begin == std::string::npos) return take(held_.size() - begun_mark(held_));
  if (begin > 0) return take(begin);
  const std::size_t end = held_.find(kMarkEnd, kMark.size());
  if (end == std::string::npos) {
    // No status is that long: these were the program's own bytes.
    return held_.size() > kMark.size() + kStatusBytesMax + kMarkEnd.size() ? take(kMark.size()) : Part{};
  }
  Part part{true, held_.substr(kMark.size(), end - kMark.size())};
  held_.erase(0, end + kMarkEnd.size());
  return part;
}

}  // namespace tutti
