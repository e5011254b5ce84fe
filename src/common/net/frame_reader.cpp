// SPDX-License-Identifier: Apache-2.0
#include "common/net/frame_reader.h"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>

#include "common/crc32c.h"
#include "common/net/whole_buffer.h"

namespace tutti {
namespace {

using ErrorCode = boost::system::error_code;

// Small enough to be in the second-level cache still when the checksum reads it, large enough for few system calls.
constexpr std::size_t kPayloadPieceBytes = 256 << 10;

boost::asio::mutable_buffer as_buffer(std::span<std::byte> bytes) {
  return {bytes.data(), bytes.size()};
}

}  // namespace

FrameReader::FrameReader(Connection& owner, Connection::Socket& socket, std::function<void(const Failure&)> on_end,
                         std::function<void(const FrameHeader&)> on_alive)
    : owner_(owner), socket_(socket), on_end_(std::move(on_end)), on_alive_(std::move(on_alive)) {}

void FrameReader::start(FrameSink& sink) {
  sink_ = &sink;
  read_header();
}

void FrameReader::read_exactly(std::span<std::byte> into, Step next) {
  boost::asio::async_read(socket_, as_buffer(into), WholeBuffer{},
                          [this, keep = owner_.shared_from_this(), next](const ErrorCode& error, std::size_t read) {
                            if (proceeds(error, read)) (this->*next)();
                          });
}

void FrameReader::read_header() {
  read_exactly(header_bytes_, &FrameReader::on_header);
}

void FrameReader::on_header() {
  auto header = decode_header(header_bytes_);
  if (!header) return end(std::move(header).error());
  header_ = *header;
  control_.resize(header_.control_bytes);
  if (control_.empty()) return on_control();
  read_exactly(control_, &FrameReader::on_control);
}

void FrameReader::on_control() {
  crc_ = checksum(header_, control_);
  payload_ = {};
  payload_read_ = 0;
  if (header_.payload_bytes == 0) return deliver();
  auto place = sink_->payload_place(owner_, header_, control_);
  if (!place) return end(std::move(place).error());
  if (place->size() != header_.payload_bytes) {
    return end(fail(Errc::kProtocol, "a payload of " + std::to_string(header_.payload_bytes) + " bytes for which " +
                                         std::to_string(place->size()) + " were agreed"));
  }
  payload_ = *place;
  read_payload();
}

void FrameReader::read_payload() {
  const auto rest = payload_.subspan(payload_read_);
  socket_.async_read_some(as_buffer(rest.first(std::min(rest.size(), kPayloadPieceBytes))),
                          [this, keep = owner_.shared_from_this(), rest](const ErrorCode& error, std::size_t read) {
                            if (!proceeds(error, read)) return;
                            crc_ = crc32c(rest.first(read), crc_);
                            count_pass(meter_, BytePass::kRead, rest.data(), read);
                            count_pass(meter_, BytePass::kChecked, rest.data(), read);
                            payload_read_ += read;
                            payload_read_ == payload_.size() ? deliver() : read_payload();
                          });
}

void FrameReader::deliver() {
  if (crc_ != header_.crc) return end(fail(Errc::kProtocol, "a frame whose checksum does not hold"));
  if (header_.type == FrameType::kAlive) {
    on_alive_(header_);
    return read_header();
  }
  auto result = sink_->on_frame(owner_, header_, control_, payload_);
  if (!result) return end(std::move(result).error());
  ++handled_;
  read_header();
}

void FrameReader::drain() {
  control_.resize(kPayloadPieceBytes);
  socket_.async_read_some(as_buffer(control_),
                          [this, keep = owner_.shared_from_this()](const ErrorCode& error, std::size_t read) {
                            static_cast<void>(proceeds(error, read));
                          });
}

// Whether the frame goes on after a read. Where it does not, what happens instead was begun. A read that was done when
// the connection was closed says so only now, when the sink and its memory may be gone.
bool FrameReader::proceeds(const ErrorCode& error, std::size_t read) {
  bytes_ += read;
  if (!socket_.is_open()) return false;
  if (error == boost::asio::error::eof) {
    end(fail(Errc::kPeerLost, "the connection was closed by the other side"));
  } else if (error) {
    end(fail(Errc::kPeerLost, "the connection broke: " + error.message()));
  } else if (discarding_) {
    drain();
  }
  return !error && !discarding_;
}

void FrameReader::end(Failure why) {
  on_end_(why);
}

}  // namespace tutti
