// SPDX-License-Identifier: Apache-2.0
#include "common/recording.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>

#include "common/crc32c.h"
#include "common/file.h"

namespace tutti {
namespace {

static_assert(std::endian::native == std::endian::little, "recordings are written as they lie in memory");

constexpr std::array<char, 8> kRecordingMagic = {'T', 'U', 'T', 'T', 'I', 'R', 'E', 'C'};
constexpr std::uint32_t kRecordingVersion = 1;
constexpr std::size_t kHostBytesMax = 256;
constexpr std::size_t kFileBytes = kRecordingPageBytes + kRecordedEvents * kRecordingEntryBytes;

struct Page {
  std::array<char, 8> magic = kRecordingMagic;
  std::uint32_t version = kRecordingVersion;
  std::uint32_t entry_bytes = kRecordingEntryBytes;
  std::uint32_t capacity = kRecordedEvents;
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

using Entry = std::array<std::uint64_t, kRecordingEntryBytes / sizeof(std::uint64_t)>;
enum Word { kNumber, kTime, kStep, kBytes, kRankAndGeneration, kObjectAndBucket, kKind, kCheck };

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
std::uint64_t check_of(const Entry& entry) {
  std::uint64_t check = 0x7475747469726563;
  for (std::uint64_t word = kNumber; word < kCheck; ++word) check += entry[word] * (0x9e3779b97f4a7c15 + 2 * word);
  return check;
}

Entry pack(const Event& event, std::uint64_t number) {
  Entry entry;
  entry[kNumber] = number;
  entry[kTime] = static_cast<std::uint64_t>(event.time.time_since_epoch().count());
  entry[kStep] = event.step;
  entry[kBytes] = event.bytes;
  entry[kRankAndGeneration] = both(static_cast<std::uint32_t>(event.rank), event.generation);
  entry[kObjectAndBucket] = both(event.object, event.bucket);
  entry[kKind] = static_cast<std::uint64_t>(event.kind);
  entry[kCheck] = check_of(entry);
  return entry;
}

Event unpack(const Entry& entry) {
  Event event;
  event.time = TimePoint(Duration(static_cast<std::int64_t>(entry[kTime])));
  event.kind = static_cast<EventKind>(entry[kKind]);
  event.rank = static_cast<std::int32_t>(low(entry[kRankAndGeneration]));
  event.generation = high(entry[kRankAndGeneration]);
  event.step = entry[kStep];
  event.object = low(entry[kObjectAndBucket]);
  event.bucket = high(entry[kObjectAndBucket]);
  event.bytes = entry[kBytes];
  return event;
}

bool is_whole(const Entry& entry, std::size_t slot) {
  return entry[kNumber] != 0 && (entry[kNumber] - 1) % kRecordedEvents == slot && entry[kCheck] == check_of(entry) &&
         entry[kKind] <= static_cast<std::uint64_t>(last_enumerator(EventKind()));
}

template <class Clock>
std::int64_t nanoseconds_of() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

Page page_of(const RecordedProcess& process) {
  Page page;
  page.role = static_cast<std::uint32_t>(process.role);
  page.rank = process.rank;
  page.generation = process.generation;
  page.pid = process.pid;
  page.host_bytes = static_cast<std::uint32_t>(process.host.copy(page.host.data(), page.host.size()));
  page.wall_ns = nanoseconds_of<std::chrono::system_clock>();
  page.monotonic_ns = nanoseconds_of<std::chrono::steady_clock>();
  page.crc = page.checksum();
  return page;
}

// Under the name of an older one that a process may still write to: that one keeps its file, which has no name then.
Result<std::span<std::byte>> map_new_file(const std::string& path) {
  ::unlink(path.c_str());
  const FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file) return fail_errno("cannot make " + path, errno);
  void* memory = MAP_FAILED;
  int error = ::posix_fallocate(file.get(), 0, kFileBytes);
  if (error == 0) {
    memory = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
    if (memory == MAP_FAILED) error = errno;
  }
  if (error != 0) {
    ::unlink(path.c_str());
    return fail_errno("there is no room for " + path, error);
  }
  return std::span(static_cast<std::byte*>(memory), kFileBytes);
}

Failure bad(const std::string& path, const std::string& what) {
  return fail(Errc::kBadData, path + " " + what);
}

Result<Page> read_page(const std::string& path, const std::string& bytes) {
  Page page;
  if (bytes.size() < kRecordingMagic.size() ||
      !std::ranges::equal(kRecordingMagic, std::span(bytes).first(kRecordingMagic.size()))) {
    return bad(
        path, "is no recording: it does not begin with " + std::string(kRecordingMagic.data(), kRecordingMagic.size()));
  }
  if (bytes.size() < kRecordingPageBytes) {
    return bad(path, fmt::format("ends after {} bytes, expected {}", bytes.size(), kFileBytes));
  }
  std::memcpy(&page, bytes.data(), sizeof page);
  if (page.version != kRecordingVersion || page.entry_bytes != kRecordingEntryBytes ||
      page.capacity != kRecordedEvents) {
    return bad(path,
               fmt::format("is a recording of version {} with {} entries of {} bytes, expected version {} with {} "
                           "of {}",
                           page.version, page.capacity, page.entry_bytes, kRecordingVersion, kRecordedEvents,
                           kRecordingEntryBytes));
  }
  const bool has_sense = page.crc == page.checksum() && page.host_bytes <= kHostBytesMax &&
                         page.role <= static_cast<std::uint32_t>(last_enumerator(Role()));
  if (!has_sense) return bad(path, "has a damaged first page");
  if (bytes.size() != kFileBytes)
    return bad(path, fmt::format("holds {} bytes, expected {}", bytes.size(), kFileBytes));
  return page;
}

void read_entries(const std::string& bytes, Recording& recording) {
  std::vector<Entry> whole;
  for (std::size_t slot = 0; slot < kRecordedEvents; ++slot) {
    Entry entry;
    std::memcpy(entry.data(), bytes.data() + kRecordingPageBytes + slot * kRecordingEntryBytes, kRecordingEntryBytes);
    if (is_whole(entry, slot)) {
      whole.push_back(entry);
    } else if (entry != Entry{}) {
      ++recording.torn;
    }
  }
  std::ranges::sort(whole, {}, [](const Entry& entry) { return entry[kNumber]; });
  for (const Entry& entry : whole) recording.events.push_back(unpack(entry));
}

}  // namespace

std::string recording_name(const RecordedProcess& process) {
  constexpr const char* names[] = {"rank", "shard", "agent"};
  return fmt::format("{}-{:04}.g{}.rec", names[static_cast<int>(process.role)], process.rank, process.generation);
}

Recorder::Recorder(std::string path, std::span<std::byte> memory) : path_(std::move(path)), memory_(memory) {}

Recorder::~Recorder() {
  ::munmap(memory_.data(), memory_.size());
}

Result<std::unique_ptr<Recorder>> Recorder::create(const std::string& folder, RecordedProcess process) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(Errc::kIo, "cannot make " + folder + ": " + error.message());
  std::string path = folder + "/" + recording_name(process);
  const auto memory = map_new_file(path);
  if (!memory) return memory.error();
  const Page page = page_of(process);
  std::memcpy(memory->data(), &page, sizeof page);
  return std::unique_ptr<Recorder>(new Recorder(std::move(path), *memory));
}

// The number comes last: an entry without it is still the one of a ring before, whose check then fails.
void Recorder::record(const Event& event) noexcept {
  const std::uint64_t number = recorded_.fetch_add(1, std::memory_order_relaxed) + 1;
  Entry entry = pack(event, number);
  auto* const slot = reinterpret_cast<std::uint64_t*>(memory_.data() + kRecordingPageBytes +
                                                      (number - 1) % kRecordedEvents * kRecordingEntryBytes);
  for (std::size_t word = kTime; word < entry.size(); ++word) {
    std::atomic_ref(slot[word]).store(entry[word], std::memory_order_relaxed);
  }
  std::atomic_ref(slot[kNumber]).store(number, std::memory_order_release);
}

void Recorder::discard() noexcept {
  ::unlink(path_.c_str());
}

std::unique_ptr<Recorder> begin_recording(const std::string& folder, RecordedProcess process, const Logger& log) {
  if (folder.empty()) return nullptr;
  process.pid = ::getpid();
  auto recorder = Recorder::create(folder, std::move(process));
  if (recorder) return *std::move(recorder);
  log.warning("goes on without a flight recorder: {}", recorder.error().text());
  return nullptr;
}

Result<Recording> read_recording(const std::string& path) {
  const auto bytes = read_file(path, kFileBytes + 1);
  if (!bytes) return bytes.error();
  const auto page = read_page(path, *bytes);
  if (!page) return page.error();
  Recording recording;
  recording.process = {static_cast<Role>(page->role), page->rank, page->generation, page->pid,
                       std::string(page->host.data(), page->host_bytes)};
  recording.wall_ns = page->wall_ns;
  recording.started = TimePoint(Duration(page->monotonic_ns));
  read_entries(*bytes, recording);
  return recording;
}

}  // namespace tutti
