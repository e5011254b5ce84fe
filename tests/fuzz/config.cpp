// SPDX-License-Identifier: Apache-2.0
// The configuration's three sources. Input: a TOML file, then key=value arguments and NAME=value variables (those that
// begin with TUTTI_), each after a zero byte. What is taken is printed and read back to the same.
#include "common/config.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/bounded_archive.h"
#include "tests/fuzz/target.h"

namespace tutti::fuzz {
namespace {

/// A file in memory, written anew for each input.
class TomlFile {
 public:
  std::string with(std::string_view text) {
    TUTTI_ASSERT(::ftruncate(fd_, 0) == 0, "a file in memory is emptied");
    TUTTI_ASSERT(::pwrite(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), "and written");
    return "/proc/self/fd/" + std::to_string(fd_);
  }

 private:
  const int fd_ = ::memfd_create("toml", MFD_CLOEXEC);
};

void take_assignments(Input& input, Environment& environment, std::vector<std::string>& arguments) {
  while (!input.empty()) {
    std::string text = input.text_until('\0');
    const auto equals = text.find('=');
    if (text.starts_with("TUTTI_") && equals != std::string::npos) {
      environment[text.substr(0, equals)] = text.substr(equals + 1);
    } else {
      arguments.push_back(std::move(text));
    }
  }
}

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti;
  static fuzz::TomlFile file;
  fuzz::Input input(data, size);
  const std::string text = input.text_until('\0');
  Environment environment;
  std::vector<std::string> arguments;
  fuzz::take_assignments(input, environment, arguments);

  const auto config = load_config(file.with(text), environment, arguments);
  if (!config) {
    TUTTI_ASSERT(config.error().code == Errc::kConfig, "what is refused is a fault of the configuration");
    return 0;
  }
  const auto again = load_config(file.with(to_toml(*config)), {}, {});
  TUTTI_ASSERT(again && *again == *config, "a configuration that was printed is read back to the same");
  const std::string encoded = encode(*config);
  const auto sent = decode<RunConfig>(std::as_bytes(std::span(encoded)));
  TUTTI_ASSERT(sent && *sent == *config, "a configuration that was sent is the same");
  fuzz::accept();
  return 0;
}
