// SPDX-License-Identifier: Apache-2.0
#include "launch/executable.h"

#include <unistd.h>

#include <filesystem>
#include <sstream>

namespace tutti::launch {
namespace {

bool is_program(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

std::string own_executable() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored).string();
}

std::string find_in_path(const std::string& name, const Environment& environment) {
  const auto path = environment.find("PATH");
  if (path == environment.end()) return {};
  std::istringstream folders(path->second);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const auto candidate = std::filesystem::path(folder.empty() ? "." : folder) / name;
    if (is_program(candidate)) return candidate.string();
  }
  return {};
}

Result<std::string> find_program(const std::string& name, const Environment& environment) {
  if (name.find('/') != std::string::npos) {
    if (is_program(name)) return name;
    return fail(Errc::kUsage, "the program '" + name + "' is not there or cannot be executed");
  }
  if (auto found = find_in_path(name, environment); !found.empty()) return found;
  const auto folder = std::filesystem::path(own_executable()).parent_path();
  if (is_program(folder / name)) return (folder / name).string();
  return fail(Errc::kUsage, "no program '" + name + "' is in PATH or in " + folder.string() + "; './" + name +
                                "' would take it from the working directory");
}

}  // namespace tutti::launch
