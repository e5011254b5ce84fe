// SPDX-License-Identifier: Apache-2.0
// The IDX files in which MNIST is kept (yann.lecun.com/exdb/mnist): a magic number, the sizes, the bytes.
#pragma once

#include <torch/torch.h>
#include <tutti/error.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

/// Reads a file of unsigned bytes with the given number of dimensions. Throws tutti::DataError naming the path, what
/// was found and what was expected.
inline torch::Tensor read_idx(const std::string& path, std::uint32_t dimensions) {
  const auto refuse = [&path](const std::string& what) { throw tutti::DataError(path + ": " + what); };
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse("cannot be opened; expected an IDX file of MNIST");
  const auto read_number = [&] {
    unsigned char b[4];
    if (!file.read(reinterpret_cast<char*>(b), 4)) refuse("ends in its header");
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
  };
  const std::uint32_t magic = read_number(), expected_magic = 0x0800 + dimensions;
  if (magic != expected_magic)
    refuse("magic number " + std::to_string(magic) + ", expected " + std::to_string(expected_magic));
  std::vector<std::int64_t> sizes;
  std::uint64_t bytes = 1;
  for (std::uint32_t d = 0; d < dimensions; ++d) {
    sizes.push_back(read_number());
    bytes *= static_cast<std::uint64_t>(sizes.back());
  }
  const std::uint64_t whole = std::filesystem::file_size(path), expected = 4 + 4ull * dimensions + bytes;
  if (whole != expected)
    refuse(std::to_string(whole) + " bytes, expected " + std::to_string(expected) + " for the sizes in its header");
  torch::Tensor data = torch::empty(sizes, torch::kUInt8);
  file.read(static_cast<char*>(data.mutable_data_ptr()), static_cast<std::streamsize>(bytes));
  return data;
}

/// Digits and their labels, as a dataset of torch::data.
class Digits : public torch::data::datasets::BatchDataset<Digits, torch::data::Example<>> {
 public:
  /// `prefix` is "train" or "t10k".
  Digits(const std::string& folder, const std::string& prefix)
      : images_(read_idx(folder + "/" + prefix + "-images-idx3-ubyte", 3)
                    .unsqueeze(1)
                    .to(torch::kFloat32)
                    .div_(255)
                    .sub_(0.1307)
                    .div_(0.3081)),
        labels_(read_idx(folder + "/" + prefix + "-labels-idx1-ubyte", 1).to(torch::kInt64)) {
    if (images_.size(0) == labels_.size(0)) return;
    throw tutti::DataError(folder + ": " + std::to_string(images_.size(0)) + " images but " +
                           std::to_string(labels_.size(0)) + " labels of " + prefix);
  }
  torch::data::Example<> get_batch(torch::ArrayRef<std::size_t> indices) override {
    const torch::Tensor which = torch::tensor(std::vector<std::int64_t>(indices.begin(), indices.end()));
    return {images_.index_select(0, which), labels_.index_select(0, which)};
  }
  std::optional<std::size_t> size() const override { return static_cast<std::size_t>(images_.size(0)); }
  const torch::Tensor& images() const { return images_; }
  const torch::Tensor& labels() const { return labels_; }

 private:
  torch::Tensor images_, labels_;
};
