// SPDX-License-Identifier: Apache-2.0
// How events lie in files that outlive their process: a page that says whose they are, then entries of a fixed size.
// An entry carries its event's number and a check of all its words, so that one that was being written when the process
// died is known for what it is. Recordings (recording.h) and parts of a trace (trace/part.h) are made of them.
// Integers are little-endian.
//   page (4096): magic (8), version u32, entry bytes u32, capacity u32 (0: the file grows), role u32, rank i32,
//                generation u32, pid i32, host bytes u32, wall clock i64, monotonic clock i64 (both in ns, read
//                together at the start), host (256), crc32c of all before u32, zeros
//   entry (64):  number u64 (from 1; 0: not used yet), time i64, step u64, bytes u64, rank i32, generation u32,
//                object u32, bucket u32, kind u32, exchange u32, check u64
// Thread safety: functions without state; an entry's place is written by one thread and read by any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/event.h"
#include "common/net/handshake_fsm.h"
#include "common/result.h"

namespace tutti {

inline constexpr std::size_t kRecordingPageBytes = 4096;
inline constexpr std::size_t kRecordingEntryBytes = 64;

/// Whose events they are.
struct RecordedProcess {
  Role role = Role::kWorker;
  std::int32_t rank = 0;
  std::uint32_t generation = 1;
  std::int32_t pid = 0;
  std::string host = {};
};
/// "rank-0003.g1.rec", "shard-0000.g1.rec", "agent-0001.g1.rec"
std::string recording_name(const RecordedProcess& process, std::string_view extension = ".rec");

/// What a file of events is.
struct RecordingFormat {
  std::string_view magic;  ///< of 8 bytes
  std::string_view noun;   ///< "recording", for messages
  std::uint32_t capacity;  ///< of entries; 0: the file grows
};

/// What a page says.
struct RecordingHead {
  RecordedProcess process;
  std::int64_t wall_ns = 0;  ///< since 1970, at `started`
  TimePoint started{};       ///< by the monotonic clock of its host
};
/// The page of a process that starts now. REQUIRES: `page` has kRecordingPageBytes of zeros.
void write_page(const RecordingFormat& format, const RecordedProcess& process, std::span<std::byte> page);
/// kBadData, naming `path`, for what is no page of this format and version.
Result<RecordingHead> read_page(const RecordingFormat& format, std::span<const std::byte> page,
                                const std::string& path);

/// Makes a file of zeros in `folder`, which is made if it is not there. One of the same name is replaced: a process
/// that still writes to that one keeps it, without a name. All of it is allocated: a full disk is kIo here, never a
/// signal later. Returns its descriptor.
Result<int> make_event_file(const std::string& folder, const std::string& path, std::size_t bytes);

using RecordedEntry = std::array<std::uint64_t, kRecordingEntryBytes / sizeof(std::uint64_t)>;
/// The number comes last: an entry without it is still the one of before, whose check then fails.
void write_entry(const Event& event, std::uint64_t number, std::byte* place) noexcept;
/// The number of an entry that is whole; 0 for any other.
std::uint64_t number_of(const RecordedEntry& entry) noexcept;
/// REQUIRES: the entry is whole.
Event event_of(const RecordedEntry& entry) noexcept;

}  // namespace tutti
