// SPDX-License-Identifier: Apache-2.0
#include "launch/child_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <span>

namespace tutti::launch {
namespace {

/// A reader who went away or a full disk must not end the run.
void pass_on(int fd, std::string_view bytes) {
  [[maybe_unused]] const auto ignored = write_all(fd, std::as_bytes(std::span(bytes)), "output");
}

}  // namespace

struct ChildOutput::Impl : std::enable_shared_from_this<Impl> {
  struct Stream {
    Stream(boost::asio::io_context& context, FileDescriptor fd, int forward_to)
        : pipe(context, fd.release()), forward_fd(forward_to) {}
    boost::asio::posix::stream_descriptor pipe;
    const int forward_fd;
    StatusMarks marks;
    LineSplitter lines;
    std::array<char, 16 << 10> buffer;
  };

  Impl(boost::asio::io_context& context, FileDescriptor out_fd, FileDescriptor err_fd, FileDescriptor log_fd,
       StatusLine* forward_to)
      : forward(forward_to),
        log(std::move(log_fd)),
        out(context, std::move(out_fd), STDOUT_FILENO),
        err(context, std::move(err_fd), STDERR_FILENO) {}

  void read(Stream& stream) {
    stream.pipe.async_read_some(
        boost::asio::buffer(stream.buffer),
        [self = shared_from_this(), &stream](boost::system::error_code error, std::size_t size) {
          if (error) return;
          self->take(stream, size);
          self->read(stream);
        });
  }

  void take(Stream& stream, std::size_t size) {
    stream.marks.feed(
        std::string_view(stream.buffer.data(), size), [&](const std::string& bytes) { take_text(stream, bytes); },
        [&](const std::string& status) { take_status(stream, status); });
  }

  void take_text(Stream& stream, const std::string& bytes) {
    if (forward != nullptr) forward->write(stream.forward_fd, bytes);
    stream.lines.feed(bytes, [&](const std::string& line) { keep(stream, line); });
  }

  void take_status(const Stream& stream, const std::string& status) {
    if (forward != nullptr) forward->show(status);
    if (!status.empty()) keep(stream, status);
  }

  void keep(const Stream& stream, const std::string& line) {
    if (&stream == &err) last_error = line;
    pass_on(log.get(), line + "\n");
  }

  void drain(Stream& stream) {
    if (!stream.pipe.is_open()) return;
    const int fd = stream.pipe.native_handle();
    while (true) {
      const ssize_t got = ::read(fd, stream.buffer.data(), stream.buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      take(stream, static_cast<std::size_t>(got));
    }
    stream.marks.flush([&](const std::string& bytes) { take_text(stream, bytes); });
    stream.lines.flush([&](const std::string& line) { keep(stream, line); });
    boost::system::error_code ignored;
    stream.pipe.close(ignored);
  }

  StatusLine* const forward;  // null: nowhere
  const FileDescriptor log;
  Stream out, err;
  std::string last_error;
};

Result<FileDescriptor> open_log(const std::string& path) {
  FileDescriptor log(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return fail_errno("cannot write " + path, errno);
  return log;
}

ChildOutput::ChildOutput(boost::asio::io_context& context, FileDescriptor out, FileDescriptor err, FileDescriptor log,
                         StatusLine* forward)
    : impl_(std::make_shared<Impl>(context, std::move(out), std::move(err), std::move(log), forward)) {
  impl_->read(impl_->out);
  impl_->read(impl_->err);
}
ChildOutput::ChildOutput(ChildOutput&&) noexcept = default;
ChildOutput::~ChildOutput() {
  if (impl_) drain();
}

void ChildOutput::drain() {
  impl_->drain(impl_->out);
  impl_->drain(impl_->err);
  if (impl_->forward != nullptr) impl_->forward->show("");  // its last one is no status any more
}

const std::string& ChildOutput::last_error() const noexcept {
  return impl_->last_error;
}

}  // namespace tutti::launch
