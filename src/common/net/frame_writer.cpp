// SPDX-License-Identifier: Apache-2.0
#include "common/net/frame_writer.h"

#include <boost/asio/write.hpp>

#include "common/crc32c.h"
#include "common/net/whole_buffer.h"

namespace tutti {
namespace {

// One system call takes 64 buffers at most, three for each frame; beyond a mebibyte there is nothing left to gain.
constexpr std::size_t kBatchFramesMax = 20;
constexpr std::size_t kBatchBytes = 1 << 20;

std::size_t bytes_without_payload(const FrameWriter::Outgoing& frame) {
  return kFrameHeaderBytes + frame.control.size();
}

}  // namespace

FrameWriter::FrameWriter(Connection& owner, Connection::Socket& socket, std::function<void()> on_idle,
                         std::function<void(const Failure&)> on_error)
    : owner_(owner), socket_(socket), on_idle_(std::move(on_idle)), on_error_(std::move(on_error)) {}

void FrameWriter::push(Outgoing frame) {
  frame.header.control_bytes = static_cast<std::uint32_t>(frame.control.size());
  frame.header.payload_bytes = frame.payload.size();
  queued_bytes_ += bytes_without_payload(frame);
  queue_.push_back(std::move(frame));
  if (batch_ == 0) write();
}

std::deque<FrameWriter::Outgoing> FrameWriter::take_unsent() {
  batch_ = 0;
  return std::exchange(queue_, {});
}

void FrameWriter::write() {
  gather_batch();
  const std::span<const boost::asio::const_buffer> buffers(buffers_);
  boost::asio::async_write(
      socket_, buffers, WholeBuffer{},
      [this, keep = owner_.shared_from_this()](const boost::system::error_code& error, std::size_t bytes) {
        if (error) return on_error_(fail(Errc::kPeerLost, "the connection broke: " + error.message()));
        on_written(bytes);
      });
}

void FrameWriter::seal(Outgoing& frame) {
  if (!frame.payload_crc) {
    frame.payload_crc = crc32c(frame.payload);
    count_pass(meter_, BytePass::kChecked, frame.payload.data(), frame.payload.size());
  }
  const std::uint32_t before = checksum(frame.header, std::as_bytes(std::span(frame.control)));
  frame.header.crc = crc32c_join(before, *frame.payload_crc, frame.payload.size());
  frame.sealed = encode(frame.header);
}

void FrameWriter::gather_batch() {
  buffers_.clear();
  std::size_t bytes = 0;
  while (batch_ < queue_.size() && batch_ < kBatchFramesMax && bytes < kBatchBytes) {
    Outgoing& frame = queue_[batch_++];
    seal(frame);
    buffers_.push_back(boost::asio::buffer(frame.sealed));
    if (!frame.control.empty()) buffers_.push_back(boost::asio::buffer(frame.control));
    if (!frame.payload.empty()) buffers_.emplace_back(frame.payload.data(), frame.payload.size());
    count_pass(meter_, BytePass::kWritten, frame.payload.data(), frame.payload.size());
    bytes += bytes_without_payload(frame) + frame.payload.size();
  }
}

// The callbacks may queue more frames, or close the connection: everything here is in order before the first one is
// called.
void FrameWriter::on_written(std::size_t bytes) {
  bytes_ += bytes;
  std::vector<Sent> callbacks;
  for (; batch_ > 0; --batch_) {
    queued_bytes_ -= bytes_without_payload(queue_.front());
    if (queue_.front().sent) callbacks.push_back(std::move(queue_.front().sent));
    queue_.pop_front();
  }
  if (!queue_.empty()) write();
  for (auto& sent : callbacks) sent(true);
  if (queue_.empty()) on_idle_();
}

}  // namespace tutti
