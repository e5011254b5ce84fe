// SPDX-License-Identifier: Apache-2.0
#include "launch/checkpoint_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

#include "common/checkpoint_file.h"
#include "common/secret.h"
#include "launch/complain.h"

namespace tutti::launch {
namespace {

constexpr const char* kWhole = "whole";

std::string readable(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string value_or(const Metadata& metadata, const std::string& key, std::string otherwise) {
  const auto found = metadata.find(key);
  return found == metadata.end() ? otherwise : found->second;
}

Result<std::vector<std::string>> names_in(FileSystem& files, const std::string& folder) {
  auto names = list_checkpoints(files, folder);
  TUTTI_TRY(names);
  if (names->empty()) return fail(Errc::kBadData, folder + ": expected checkpoints, found none");
  return names;
}

/// Whether the file that the manifest names has the size that it names.
Result<Manifest> glance(FileSystem& files, const std::string& checkpoint) {
  auto manifest = read_manifest(files, checkpoint);
  TUTTI_TRY(manifest);
  const ManifestFile& named = manifest->files[0];
  const std::string path = checkpoint + "/" + named.name;
  const auto file = files.open(path);
  TUTTI_TRY(file);
  if ((*file)->size() == named.bytes) return manifest;
  return fail(Errc::kBadData, fmt::format("{}: expected {} bytes, found {}", path, named.bytes, (*file)->size()));
}

std::string row_of(FileSystem& files, const std::string& folder, const std::string& name) {
  const auto manifest = glance(files, folder + "/" + name);
  if (!manifest) return fmt::format("{:<21} torn: {}\n", name, manifest.error().text());
  const Metadata& metadata = manifest->metadata;
  return fmt::format("{:<21} {:>12} {:>6} {:>6} {:>11}\n", name, manifest->step,
                     value_or(metadata, "position/epoch", "-"), value_or(metadata, "world_size", "-"),
                     readable(manifest->files[0].bytes));
}

Result<> refusal_of(FileSystem& files, const std::string& checkpoint) {
  const auto verified = verify_checkpoint(files, checkpoint);
  TUTTI_TRY(verified);
  return {};
}

void add_row(CheckpointReport& report, const std::string& name, const Result<>& verified) {
  report.text += fmt::format("{} {}\n", name, verified ? kWhole : "torn: " + verified.error().text());
  if (!verified) report.exit_code = exit_code(verified.error().code);
}

/// A text of several lines stands below its name.
std::string metadata_line(const std::string& key, std::string value) {
  if (value.find('\n') == std::string::npos) return fmt::format("  {}: {}\n", key, value);
  std::string indented = "    ";
  for (const char c : value) {
    indented += c;
    if (c == '\n') indented += "    ";
  }
  return fmt::format("  {}:\n{}\n", key, indented.substr(0, indented.find_last_not_of(" \n") + 1));
}

std::string describe(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const NamedBytes& tensor : checkpoint.file.tensors) bytes += tensor.bytes.size();
  std::string text = fmt::format("{}\nstep {}, {} tensors of {}\n{} SHA-256 {}\n", checkpoint.folder, checkpoint.step,
                                 checkpoint.file.tensors.size(), readable(bytes), kTensorsFile, checkpoint.sha256);
  text += "\nmetadata\n";
  for (const auto& [key, value] : checkpoint.metadata) text += metadata_line(key, value);
  text += "\ntensors: dtype, shape, bytes, the first 16 digits of the bytes' SHA-256\n";
  for (const NamedBytes& tensor : checkpoint.file.tensors) {
    text += fmt::format("  {}: {} [{}] {} {}\n", tensor.name, name_of(tensor.dtype), fmt::join(tensor.shape, ", "),
                        tensor.bytes.size(), hex(sha256(tensor.bytes)).substr(0, 16));
  }
  return text;
}

Result<CheckpointReport> report_of(FileSystem& files, const CheckpointCommand& command) {
  switch (command.action) {
    case CheckpointAction::kList:
      return list_folder(files, command.path);
    case CheckpointAction::kVerify:
      return verify_path(files, command.path);
    case CheckpointAction::kShow:
      return show_checkpoint(files, command.path);
  }
  return fail(Errc::kInternal, "an action without a report");
}

}  // namespace

Result<CheckpointReport> list_folder(FileSystem& files, const std::string& folder) {
  const auto names = names_in(files, folder);
  TUTTI_TRY(names);
  CheckpointReport report;
  report.text = fmt::format("{:<21} {:>12} {:>6} {:>6} {:>11}\n", "checkpoint", "step", "epoch", "ranks", "tensors");
  for (const std::string& name : *names) report.text += row_of(files, folder, name);
  return report;
}

Result<CheckpointReport> verify_path(FileSystem& files, const std::string& path) {
  CheckpointReport report;
  const auto is_checkpoint = files.exists(fmt::format("{}/{}", path, kManifestFile));
  TUTTI_TRY(is_checkpoint);
  if (*is_checkpoint) {
    add_row(report, path, refusal_of(files, path));
    return report;
  }
  const auto names = names_in(files, path);
  if (!names)
    return names.error().code == Errc::kBadData
               ? fail(Errc::kBadData, path + ": expected a checkpoint or a folder of checkpoints, found neither")
               : names.error();
  for (const std::string& name : *names) add_row(report, name, refusal_of(files, path + "/" + name));
  return report;
}

Result<CheckpointReport> show_checkpoint(FileSystem& files, const std::string& path) {
  const auto checkpoint = load_checkpoint(files, path);
  TUTTI_TRY(checkpoint);
  return CheckpointReport{describe(*checkpoint)};
}

int execute(const CheckpointCommand& command) {
  DiskFileSystem disk;
  const auto report = report_of(disk, command);
  if (!report) return complain(report.error());
  fmt::print("{}", report->text);
  return report->exit_code;
}

}  // namespace tutti::launch
