// SPDX-License-Identifier: Apache-2.0
// A message of protocol buffers is a row of fields, in any order: a key (number and wire type) as a varint, then the
// value. Numbers and enumerators below are those of TensorFlow's event.proto, summary.proto and tensor.proto.
#include "common/event_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <filesystem>
#include <span>
#include <system_error>

#include "common/crc32c.h"
#include "common/utf8.h"

namespace tutti {
namespace {

void append_integer(std::string& to, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) to += static_cast<char>(value >> (8 * i));
}

/// The fields of one message, encoded one after the other.
class Message {
 public:
  Message& integer(int field, std::uint64_t value) {
    varint(key(field, 0));
    varint(value);
    return *this;
  }
  Message& number(int field, double value) {
    varint(key(field, 1));
    append_integer(bytes_, std::bit_cast<std::uint64_t>(value), sizeof value);
    return *this;
  }
  Message& number(int field, float value) {
    varint(key(field, 5));
    append_integer(bytes_, std::bit_cast<std::uint32_t>(value), sizeof value);
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    varint(key(field, 2));
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  /// Doubles in a row.
  template <class Numbers>
  Message& numbers(int field, const Numbers& values) {
    std::string row;
    for (const auto value : values)
      append_integer(row, std::bit_cast<std::uint64_t>(static_cast<double>(value)), sizeof(double));
    return bytes(field, row);
  }
  Message& message(int field, const Message& value) { return bytes(field, value.bytes_); }
  std::string_view encoded() const { return bytes_; }

 private:
  static std::uint64_t key(int field, int wire_type) { return static_cast<std::uint64_t>(field << 3 | wire_type); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

constexpr int kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3, kEventSummary = 5, kEventSessionLog = 7;
constexpr int kSessionLogStatus = 1, kStatusStart = 1;
constexpr int kSummaryValue = 1;
constexpr int kValueTag = 1, kValueSimple = 2, kValueHistogram = 5, kValueTensor = 8, kValueMetadata = 9;
constexpr int kHistogramMin = 1, kHistogramMax = 2, kHistogramNumber = 3, kHistogramSum = 4, kHistogramSquares = 5,
              kHistogramLimits = 6, kHistogramCounts = 7;
constexpr int kMetadataPlugin = 1, kMetadataDataClass = 4, kDataClassTensor = 2, kPluginName = 1;
constexpr int kTensorDType = 1, kTensorShape = 2, kTensorString = 8, kDTypeString = 7;

constexpr const char* kFileVersion = "brain.Event:2";

Message event_at(EventTime when) {
  Message event;
  event.number(kEventWallTime, when.wall_s).integer(kEventStep, static_cast<std::uint64_t>(when.step));
  return event;
}

Message summary_of(const Message& value) {
  Message summary;
  summary.message(kSummaryValue, value);
  return summary;
}

std::string as_utf8(std::string_view text) {
  std::string result(text);
  if (!is_utf8(text))
    std::ranges::replace_if(
        result, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return result;
}

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  return std::rotr(crc, 15) + 0xa282ead8u;
}

}  // namespace

Result<std::unique_ptr<EventFile>> EventFile::create(const std::string& folder, const std::string& host,
                                                     double wall_s) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail_errno("the folder " + folder + " cannot be made", error.value());
  std::string path =
      fmt::format("{}/events.out.tfevents.{}.{}.{}", folder, static_cast<std::int64_t>(wall_s), host, ::getpid());
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file) return fail_errno("the event file " + path + " cannot be written", errno);
  auto events = std::unique_ptr<EventFile>(new EventFile(std::move(path), std::move(file)));
  events->append(Message().number(kEventWallTime, wall_s).bytes(kEventFileVersion, kFileVersion).encoded());
  return events;
}

EventFile::~EventFile() {
  (void)flush();
}

void EventFile::scalar(EventTime when, std::string_view tag, double value) {
  Message entry;
  entry.bytes(kValueTag, as_utf8(tag)).number(kValueSimple, static_cast<float>(value));
  append(event_at(when).message(kEventSummary, summary_of(entry)).encoded());
}

void EventFile::histogram(EventTime when, std::string_view tag, const Distribution& distribution) {
  Message histogram, entry;
  histogram.number(kHistogramMin, distribution.min)
      .number(kHistogramMax, distribution.max)
      .number(kHistogramNumber, static_cast<double>(distribution.finite))
      .number(kHistogramSum, distribution.sum)
      .number(kHistogramSquares, distribution.sum_squares)
      .numbers(kHistogramLimits, distribution.limits)
      .numbers(kHistogramCounts, distribution.counts);
  entry.bytes(kValueTag, as_utf8(tag)).message(kValueHistogram, histogram);
  append(event_at(when).message(kEventSummary, summary_of(entry)).encoded());
}

void EventFile::text(EventTime when, std::string_view tag, std::string_view markdown) {
  Message plugin, metadata, tensor, entry;
  plugin.bytes(kPluginName, "text");
  metadata.message(kMetadataPlugin, plugin).integer(kMetadataDataClass, kDataClassTensor);
  tensor.integer(kTensorDType, kDTypeString).message(kTensorShape, {}).bytes(kTensorString, as_utf8(markdown));
  entry.bytes(kValueTag, as_utf8(tag)).message(kValueTensor, tensor).message(kValueMetadata, metadata);
  append(event_at(when).message(kEventSummary, summary_of(entry)).encoded());
}

void EventFile::restart(EventTime when) {
  Message log;
  log.integer(kSessionLogStatus, kStatusStart);
  append(event_at(when).message(kEventSessionLog, log).encoded());
}

void EventFile::append(std::string_view event) {
  if (!file_) return;
  std::string length;
  append_integer(length, event.size(), sizeof(std::uint64_t));
  buffer_ += length;
  append_integer(buffer_, masked_crc(length), sizeof(std::uint32_t));
  buffer_ += event;
  append_integer(buffer_, masked_crc(event), sizeof(std::uint32_t));
}

Result<> EventFile::flush() {
  if (buffer_.empty()) return {};
  auto written = write_all(file_.get(), std::as_bytes(std::span(buffer_)), "the event file " + path_);
  buffer_.clear();
  if (!written) file_ = FileDescriptor();
  return written;
}

}  // namespace tutti
