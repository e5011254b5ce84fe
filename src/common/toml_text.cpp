// SPDX-License-Identifier: Apache-2.0
#include "common/toml_text.h"

#include <algorithm>

namespace tutti {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Walks over the text, one piece after the other: a comment, a string, or a character of what is between them.
class Walk {
 public:
  explicit Walk(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ >= text_.size(); }
  std::size_t line() const { return 1 + static_cast<std::size_t>(std::ranges::count(text_.substr(0, at_), '\n')); }
  bool at_ascii() const { return static_cast<unsigned char>(text_[at_]) < 0x80; }

  /// Stops at a character beyond ASCII in a string of several lines.
  void step() {
    const char c = text_[at_];
    if (c == '#') {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (c == '"' || c == '\'') {
      const std::string_view mark = c == '"' ? "\"\"\"" : "'''";
      text_.substr(at_).starts_with(mark) ? skip_lines(mark) : skip_string(c);
    } else {
      ++at_;
    }
  }

 private:
  void skip_string(char quote) {
    for (++at_; !at_end() && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == quote) break;
      if (quote == '"' && text_[at_] == '\\') ++at_;
    }
    ++at_;
  }
  // Up to two more quotes than it takes belong to the string.
  void skip_lines(std::string_view mark) {
    for (at_ += mark.size(); !at_end() && at_ascii(); ++at_) {
      if (text_.substr(at_).starts_with(mark)) {
        at_ = std::min(text_.find_first_not_of(mark[0], at_), text_.size());
        return;
      }
      const bool escapes = mark[0] == '"' && text_[at_] == '\\';
      if (escapes && text_.substr(at_ + 1).find_first_of("\"\\") == 0) ++at_;
    }
  }

  const std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<std::size_t> line_of_stray_character(std::string_view toml) noexcept {
  if (toml.starts_with(kByteOrderMark)) toml.remove_prefix(kByteOrderMark.size());
  for (Walk walk(toml); !walk.at_end(); walk.step()) {
    if (!walk.at_ascii()) return walk.line();
  }
  return std::nullopt;
}

}  // namespace tutti
