// SPDX-License-Identifier: Apache-2.0
// A fuzz target with the inputs of a corpus instead of libFuzzer:
//   fuzz_TARGET FOLDER
// A target aborts by itself where a promise does not hold. Beyond that every input called valid-* has to be accepted:
// a corpus that the encoders have left behind tests nothing.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

std::vector<std::uint8_t> content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool run(const fs::path& path) {
  std::printf("%s\n", path.filename().c_str());
  std::fflush(stdout);  // so that the last line names the input of an abort
  const auto before = tutti::fuzz::accepted();
  const auto bytes = content_of(path);
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  if (!path.filename().string().starts_with("valid-") || tutti::fuzz::accepted() > before) return true;
  std::printf("^ is not accepted any more: make it anew with fuzz_seeds\n");
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 64;
  }
  std::vector<fs::path> inputs(fs::directory_iterator(argv[1]), {});
  std::ranges::sort(inputs);
  const auto refused = std::ranges::count_if(inputs, [](const fs::path& path) { return !run(path); });
  std::printf("%zu inputs, %td of them refused, %llu accepted\n", inputs.size(), refused,
              static_cast<unsigned long long>(tutti::fuzz::accepted()));
  return !inputs.empty() && refused == 0 && tutti::fuzz::accepted() > 0 ? 0 : 1;
}
