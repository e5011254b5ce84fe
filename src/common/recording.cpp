// SPDX-License-Identifier: Apache-2.0
#include "common/recording.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "common/file.h"

namespace tutti {
namespace {

constexpr RecordingFormat kRecordingFormat{"TUTTIREC", "recording", kRecordedEvents};
constexpr std::size_t kFileBytes = kRecordingPageBytes + kRecordedEvents * kRecordingEntryBytes;

Result<std::span<std::byte>> map_new_file(const std::string& folder, const std::string& path) {
  const auto made = make_event_file(folder, path, kFileBytes);
  if (!made) return made.error();
  const FileDescriptor file(*made);
  void* const memory = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
  if (memory != MAP_FAILED) return std::span(static_cast<std::byte*>(memory), kFileBytes);
  const int error = errno;
  ::unlink(path.c_str());
  return fail_errno("there is no room for " + path, error);
}

void read_entries(const std::string& bytes, Recording& recording) {
  std::vector<std::pair<std::uint64_t, Event>> whole;
  for (std::size_t slot = 0; slot < kRecordedEvents; ++slot) {
    RecordedEntry entry;
    std::memcpy(entry.data(), bytes.data() + kRecordingPageBytes + slot * kRecordingEntryBytes, kRecordingEntryBytes);
    const std::uint64_t number = number_of(entry);
    if (number != 0 && (number - 1) % kRecordedEvents == slot) {
      whole.emplace_back(number, event_of(entry));
    } else if (entry != RecordedEntry{}) {
      ++recording.torn;
    }
  }
  std::ranges::sort(whole, {}, [](const auto& numbered) { return numbered.first; });
  for (const auto& [number, event] : whole) recording.events.push_back(event);
}

}  // namespace

Recorder::Recorder(std::string path, std::span<std::byte> memory) : path_(std::move(path)), memory_(memory) {}

Recorder::~Recorder() {
  ::munmap(memory_.data(), memory_.size());
}

Result<std::unique_ptr<Recorder>> Recorder::create(const std::string& folder, const RecordedProcess& process) {
  std::string path = folder + "/" + recording_name(process);
  const auto memory = map_new_file(folder, path);
  if (!memory) return memory.error();
  write_page(kRecordingFormat, process, *memory);
  return std::unique_ptr<Recorder>(new Recorder(std::move(path), *memory));
}

void Recorder::record(const Event& event) noexcept {
  if (is_for_timelines(event.kind)) return;
  const std::uint64_t number = recorded_.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::size_t slot = (number - 1) % kRecordedEvents;
  write_entry(event, number, memory_.data() + kRecordingPageBytes + slot * kRecordingEntryBytes);
}

void Recorder::discard() noexcept {
  ::unlink(path_.c_str());
}

std::unique_ptr<Recorder> begin_recording(const std::string& folder, RecordedProcess process, const Logger& log) {
  if (folder.empty()) return nullptr;
  process.pid = ::getpid();
  auto recorder = Recorder::create(folder, process);
  if (recorder) return *std::move(recorder);
  log.warning("goes on without a flight recorder: {}", recorder.error().text());
  return nullptr;
}

Result<Recording> read_recording(const std::string& path) {
  const auto bytes = read_file(path, kFileBytes + 1);
  if (!bytes) return bytes.error();
  auto head = read_page(kRecordingFormat, std::as_bytes(std::span(*bytes)), path);
  if (!head) return head.error();
  if (bytes->size() != kFileBytes) {
    return fail(Errc::kBadData, fmt::format("{} holds {} bytes, expected {}", path, bytes->size(), kFileBytes));
  }
  Recording recording{std::move(head->process), head->wall_ns, head->started, {}, 0};
  read_entries(*bytes, recording);
  return recording;
}

}  // namespace tutti
