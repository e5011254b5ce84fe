// SPDX-License-Identifier: Apache-2.0
#include "common/trace/part.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>

namespace tutti {
namespace {

static_assert(kPartWindowBytes % kRecordingPageBytes == 0, "windows are mapped from whole pages");

// The page takes the places of the first entries.
constexpr std::uint64_t kPlacesOfThePage = kRecordingPageBytes / kRecordingEntryBytes;
constexpr std::uint64_t kPlacesInAWindow = kPartWindowBytes / kRecordingEntryBytes;

}  // namespace

std::string parts_folder(const std::string& trace) {
  return trace + ".parts";
}

TracePart::TracePart(std::string path, FileDescriptor file, Logger log)
    : path_(std::move(path)), file_(std::move(file)), log_(std::move(log)) {}

TracePart::~TracePart() {
  for (const auto& window : windows_) {
    if (std::byte* const memory = window.load()) ::munmap(memory, kPartWindowBytes);
  }
}

Result<std::unique_ptr<TracePart>> TracePart::create(const std::string& folder, RecordedProcess process, Logger log) {
  process.pid = ::getpid();
  std::string path = folder + "/" + recording_name(process, kPartExtension);
  const auto made = make_event_file(folder, path, kPartWindowBytes);
  if (!made) return made.error();
  std::unique_ptr<TracePart> part(new TracePart(std::move(path), FileDescriptor(*made), std::move(log)));
  TUTTI_TRY(part->open_window(0));
  write_page(kPartFormat, process, std::span(part->windows_[0].load(), kRecordingPageBytes));
  return part;
}

Result<std::unique_ptr<TracePart>> begin_part(const std::string& trace, RecordedProcess process, const Logger& log) {
  if (trace.empty()) return std::unique_ptr<TracePart>();
  return TracePart::create(parts_folder(trace), std::move(process), log);
}

// What was written two windows ago is left to the system, which takes it out of this process' memory; a thread that was
// held up since then still finds its place there.
Result<> TracePart::open_window(std::size_t number) {
  const auto offset = static_cast<off_t>(number * kPartWindowBytes);
  if (number >= kPartWindowsMax) return fail(Errc::kIo, fmt::format("{} holds {} bytes", path_, offset));
  if (const int error = ::posix_fallocate(file_.get(), offset, kPartWindowBytes); error != 0) {
    return fail_errno("there is no room for " + path_, error);
  }
  // Not populated: its 256 pages come one by one, each when it is written to, which stops nobody for long.
  void* const memory = ::mmap(nullptr, kPartWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), offset);
  if (memory == MAP_FAILED) return fail_errno("cannot map " + path_, errno);
  windows_[number].store(static_cast<std::byte*>(memory), std::memory_order_release);
  if (number >= 2) {
    if (std::byte* const old = windows_[number - 2].load()) ::madvise(old, kPartWindowBytes, MADV_DONTNEED);
  }
  return {};
}

std::byte* TracePart::window(std::size_t number) noexcept {
  if (number < kPartWindowsMax) {
    if (std::byte* const open = windows_[number].load(std::memory_order_acquire)) return open;
  }
  const std::lock_guard lock(mutex_);
  if (is_full_) return nullptr;
  if (number < kPartWindowsMax && windows_[number].load() != nullptr) return windows_[number].load();
  const auto opened = open_window(number);
  if (opened) return windows_[number].load();
  is_full_ = true;
  give_up(opened.error().text());
  return nullptr;
}

void TracePart::give_up(const std::string& why) noexcept {
  try {
    log_.warning("the trace goes on without this process' later events: {}", why);
  } catch (...) {  // the run is worth more than the warning
  }
}

void TracePart::record(const Event& event) noexcept {
  if (is_full_.load(std::memory_order_relaxed)) return;
  const std::uint64_t number = recorded_.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::uint64_t place = number - 1 + kPlacesOfThePage;
  std::byte* const memory = window(place / kPlacesInAWindow);
  if (memory == nullptr) return;
  write_entry(event, number, memory + place % kPlacesInAWindow * kRecordingEntryBytes);
}

}  // namespace tutti
