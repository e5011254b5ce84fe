// SPDX-License-Identifier: Apache-2.0
#include "common/recording_format.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "common/crc32c.h"
#include "common/file.h"

namespace tutti {
namespace {

static_assert(std::endian::native == std::endian::little, "events are written as they lie in memory");

constexpr std::uint32_t kFormatVersion = 1;
constexpr std::size_t kHostBytesMax = 256;

struct Page {
  std::array<char, 8> magic{};
  std::uint32_t version = kFormatVersion;
  std::uint32_t entry_bytes = kRecordingEntryBytes;
  std::uint32_t capacity = 0;
  std::uint32_t role = 0;
  std::int32_t rank = 0;
  std::uint32_t generation = 0;
  std::int32_t pid = 0;
  std::uint32_t host_bytes = 0;
  std::int64_t wall_ns = 0;
  std::int64_t monotonic_ns = 0;
  std::array<char, kHostBytesMax> host{};
  std::uint32_t crc = 0;

  std::uint32_t checksum() const { return crc32c(std::as_bytes(std::span(this, 1)).first(offsetof(Page, crc))); }
};
static_assert(offsetof(Page, crc) == 312, "the page has no holes before its checksum");

enum Word { kNumber, kTime, kStep, kBytes, kRankAndGeneration, kObjectAndBucket, kKindAndExchange, kCheck };

constexpr std::uint64_t both(std::uint32_t low, std::uint32_t high) {
  return low | std::uint64_t{high} << 32;
}
constexpr std::uint32_t low(std::uint64_t word) {
  return static_cast<std::uint32_t>(word);
}
constexpr std::uint32_t high(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> 32);
}

// Odd factors: a change of any one word changes the sum.
std::uint64_t check_of(const RecordedEntry& entry) {
  std::uint64_t check = 0x7475747469726563;
  for (std::uint64_t word = kNumber; word < kCheck; ++word) check += entry[word] * (0x9e3779b97f4a7c15 + 2 * word);
  return check;
}

RecordedEntry pack(const Event& event, std::uint64_t number) {
  RecordedEntry entry;
  entry[kNumber] = number;
  entry[kTime] = static_cast<std::uint64_t>(event.time.time_since_epoch().count());
  entry[kStep] = event.step;
  entry[kBytes] = event.bytes;
  entry[kRankAndGeneration] = both(static_cast<std::uint32_t>(event.rank), event.generation);
  entry[kObjectAndBucket] = both(event.object, event.bucket);
  entry[kKindAndExchange] = both(static_cast<std::uint32_t>(event.kind), event.exchange);
  entry[kCheck] = check_of(entry);
  return entry;
}

template <class Clock>
std::int64_t nanoseconds_of() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

Failure bad(const std::string& path, const std::string& what) {
  return fail(Errc::kBadData, path + " " + what);
}

bool has_sense(const Page& page) {
  return page.crc == page.checksum() && page.host_bytes <= kHostBytesMax &&
         page.role <= static_cast<std::uint32_t>(last_enumerator(Role()));
}

}  // namespace

std::string recording_name(const RecordedProcess& process, std::string_view extension) {
  constexpr const char* names[] = {"rank", "shard", "agent"};
  return fmt::format("{}-{:04}.g{}{}", names[static_cast<int>(process.role)], process.rank, process.generation,
                     extension);
}

void write_page(const RecordingFormat& format, const RecordedProcess& process, std::span<std::byte> into) {
  Page page;
  format.magic.copy(page.magic.data(), page.magic.size());
  page.capacity = format.capacity;
  page.role = static_cast<std::uint32_t>(process.role);
  page.rank = process.rank;
  page.generation = process.generation;
  page.pid = process.pid;
  page.host_bytes = static_cast<std::uint32_t>(process.host.copy(page.host.data(), page.host.size()));
  page.wall_ns = nanoseconds_of<std::chrono::system_clock>();
  page.monotonic_ns = nanoseconds_of<std::chrono::steady_clock>();
  page.crc = page.checksum();
  std::memcpy(into.data(), &page, sizeof page);
}

Result<RecordingHead> read_page(const RecordingFormat& format, std::span<const std::byte> bytes,
                                const std::string& path) {
  const auto magic = std::as_bytes(std::span(format.magic));
  if (bytes.size() < magic.size() || !std::ranges::equal(magic, bytes.first(magic.size()))) {
    return bad(path, fmt::format("is no {}: it does not begin with {}", format.noun, format.magic));
  }
  if (bytes.size() < kRecordingPageBytes) {
    return bad(path, fmt::format("ends after {} bytes, within its first page", bytes.size()));
  }
  Page page;
  std::memcpy(&page, bytes.data(), sizeof page);
  if (page.version != kFormatVersion || page.entry_bytes != kRecordingEntryBytes || page.capacity != format.capacity) {
    return bad(path, fmt::format("is a {} of version {} with {} entries of {} bytes, expected version {} with {} of {}",
                                 format.noun, page.version, page.capacity, page.entry_bytes, kFormatVersion,
                                 format.capacity, kRecordingEntryBytes));
  }
  if (!has_sense(page)) return bad(path, "has a damaged first page");
  RecordingHead head;
  head.process = {static_cast<Role>(page.role), page.rank, page.generation, page.pid,
                  std::string(page.host.data(), page.host_bytes)};
  head.wall_ns = page.wall_ns;
  head.started = TimePoint(Duration(page.monotonic_ns));
  return head;
}

Result<int> make_event_file(const std::string& folder, const std::string& path, std::size_t bytes) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return fail(Errc::kIo, "cannot make " + folder + ": " + failed.message());
  ::unlink(path.c_str());
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file) return fail_errno("cannot make " + path, errno);
  const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
  if (error == 0) return file.release();
  ::unlink(path.c_str());
  return fail_errno("there is no room for " + path, error);
}

void write_entry(const Event& event, std::uint64_t number, std::byte* place) noexcept {
  RecordedEntry entry = pack(event, number);
  auto* const words = reinterpret_cast<std::uint64_t*>(place);
  for (std::size_t word = kTime; word < entry.size(); ++word) {
    std::atomic_ref(words[word]).store(entry[word], std::memory_order_relaxed);
  }
  std::atomic_ref(words[kNumber]).store(number, std::memory_order_release);
}

std::uint64_t number_of(const RecordedEntry& entry) noexcept {
  const bool is_whole = entry[kCheck] == check_of(entry) &&
                        low(entry[kKindAndExchange]) <= static_cast<std::uint32_t>(last_enumerator(EventKind()));
  return is_whole ? entry[kNumber] : 0;
}

Event event_of(const RecordedEntry& entry) noexcept {
  Event event;
  event.time = TimePoint(Duration(static_cast<std::int64_t>(entry[kTime])));
  event.kind = static_cast<EventKind>(low(entry[kKindAndExchange]));
  event.exchange = static_cast<std::uint16_t>(high(entry[kKindAndExchange]));
  event.rank = static_cast<std::int32_t>(low(entry[kRankAndGeneration]));
  event.generation = high(entry[kRankAndGeneration]);
  event.step = entry[kStep];
  event.object = low(entry[kObjectAndBucket]);
  event.bucket = high(entry[kObjectAndBucket]);
  event.bytes = entry[kBytes];
  return event;
}

}  // namespace tutti
