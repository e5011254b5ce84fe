// SPDX-License-Identifier: Apache-2.0
// A conversation is one request and one reply, each one message of a sequenced-packet socket. Both sides run the same
// binary on the same machine, so a message is the bytes of a struct.
#include "common/host_memory.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>

#include "common/file.h"
#include "common/secret.h"

namespace tutti {
namespace {

constexpr std::uint64_t kHandoverMagic = 0x31'6d656d'6f6874;
constexpr std::size_t kTextMax = 240;
constexpr std::size_t kAskingMax = 256;  // processes in the middle of a conversation

struct Request {
  std::uint64_t magic = kHandoverMagic;
  bool forget = false;  // what was made; nothing is wanted
  SegmentRequest wanted = {};
};
struct Reply {
  std::uint64_t magic = kHandoverMagic;
  std::int32_t error = 0;  // an Errc; 0: a descriptor comes along, unless nothing was wanted
  char text[kTextMax] = {};
};

sockaddr_un address_of(const std::string& name, socklen_t& length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // The leading zero says that the name is no file's.
  const std::size_t size = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return address;
}

FileDescriptor open_socket() {
  return FileDescriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

bool is_same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

/// A message with room for one descriptor beside its bytes.
struct Envelope {
  explicit Envelope(void* bytes, std::size_t size) : part{bytes, size} {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
  iovec part;
  msghdr message{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
};

void send_reply(int socket, Reply reply, int fd) {
  Envelope envelope(&reply, sizeof reply);
  if (fd >= 0) {
    cmsghdr* const rights = CMSG_FIRSTHDR(&envelope.message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  } else {
    envelope.message.msg_controllen = 0;
  }
  (void)::sendmsg(socket, &envelope.message, MSG_NOSIGNAL);  // one that has gone needs no answer
}

Reply refusal(const Failure& why) {
  Reply reply;
  reply.error = static_cast<std::int32_t>(why.code);
  const std::string text = why.text();
  std::memcpy(reply.text, text.data(), std::min(text.size(), kTextMax - 1));
  return reply;
}

std::string describe(const SegmentShape& shape) {
  return fmt::format("{} ranks, {} buckets, {} blocks, {} bytes", shape.ranks, shape.buckets, shape.blocks,
                     shape.data_bytes);
}

}  // namespace

std::string keeper_name(const JobId& job, int index) {
  return fmt::format("tutti-{}-{}", hex(job), index);
}

struct SegmentKeeper::Impl : std::enable_shared_from_this<Impl> {
  using Descriptor = boost::asio::posix::stream_descriptor;
  struct Kept {
    SegmentRequest request;
    Segment segment;
  };

  Impl(boost::asio::io_context& context, FileDescriptor socket, Logger log_)
      : listener(context, socket.release()), log(std::move(log_)) {}

  void accept_next();
  void listen_to(int fd);
  void answer(int fd);
  Result<int> segment_for(const SegmentRequest& wanted);

  Descriptor listener;
  const Logger log;
  std::list<Descriptor> asking;
  std::map<std::uint32_t, Kept> kept;  // by object
};

void SegmentKeeper::Impl::accept_next() {
  listener.async_wait(Descriptor::wait_read, [self = shared_from_this()](const boost::system::error_code& error) {
    if (error) return;
    FileDescriptor peer(::accept4(self->listener.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (peer && !is_same_user(peer.get())) self->log.warning("a process of another user asked for shared memory");
    if (peer && is_same_user(peer.get())) self->listen_to(peer.release());
    self->accept_next();
  });
}

void SegmentKeeper::Impl::listen_to(int fd) {
  if (asking.size() == kAskingMax) asking.pop_front();
  const auto peer = asking.emplace(asking.end(), listener.get_executor(), fd);
  peer->async_wait(Descriptor::wait_read, [self = shared_from_this(), peer](const boost::system::error_code& error) {
    if (error == boost::asio::error::operation_aborted) return;  // it is gone from the list already
    if (!error) self->answer(peer->native_handle());
    self->asking.erase(peer);
  });
}

void SegmentKeeper::Impl::answer(int fd) {
  Request request;
  const ssize_t got = ::recv(fd, &request, sizeof request, 0);
  if (got == 0) return;
  if (got != sizeof request || request.magic != kHandoverMagic) {
    return log.warning("a request for shared memory of {} bytes was refused", got);
  }
  if (request.forget) {
    kept.clear();
    return send_reply(fd, Reply{}, -1);
  }
  const auto segment = segment_for(request.wanted);
  if (!segment) log.warning("{}", segment.error().text());
  send_reply(fd, segment ? Reply{} : refusal(segment.error()), segment ? *segment : -1);
}

Result<int> SegmentKeeper::Impl::segment_for(const SegmentRequest& wanted) {
  const auto found = kept.find(wanted.object);
  if (found != kept.end() && found->second.request.number >= wanted.number) {
    const SegmentRequest& first = found->second.request;
    if (first.number == wanted.number && first.plan_hash == wanted.plan_hash && first.shape == wanted.shape) {
      return found->second.segment.fd();
    }
    return fail(Errc::kMismatch,
                fmt::format("model {}: a rank of this host wants shared memory for plan {} ({}; hash {:x}), another "
                            "has asked for plan {} ({}; hash {:x})",
                            wanted.object, wanted.number, describe(wanted.shape), wanted.plan_hash, first.number,
                            describe(first.shape), first.plan_hash));
  }
  auto made = Segment::create(wanted.shape, /*generation=*/1);
  if (!made) return std::move(made).error().wrap(fmt::format("model {} on this host", wanted.object));
  if (found != kept.end()) kept.erase(found);
  return kept.emplace(wanted.object, Kept{wanted, std::move(*made)}).first->second.segment.fd();
}

Result<std::unique_ptr<SegmentKeeper>> SegmentKeeper::start(Loop& loop, const std::string& name, Logger log) {
  FileDescriptor socket = open_socket();
  socklen_t length = 0;
  const sockaddr_un address = address_of(name, length);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    return fail_errno("the host's shared memory cannot be offered as " + name, errno, Errc::kUnavailable);
  }
  auto impl = std::make_shared<Impl>(loop.context(), std::move(socket), std::move(log));
  loop.run([&] { impl->accept_next(); });
  return std::unique_ptr<SegmentKeeper>(new SegmentKeeper(loop, std::move(impl)));
}

SegmentKeeper::~SegmentKeeper() {
  loop_.run([this] {
    boost::system::error_code ignored;
    impl_->listener.close(ignored);
    impl_->asking.clear();
    impl_.reset();
  });
}

namespace {

constexpr timespec kRetryPause{0, 2'000'000};

/// A keeper that is about to start is tried again.
Result<FileDescriptor> call(const std::string& keeper, const Clock& clock, Deadline deadline) {
  socklen_t length = 0;
  const sockaddr_un address = address_of(keeper, length);
  while (true) {
    FileDescriptor socket = open_socket();
    if (!socket) return fail_errno("no socket to ask for shared memory", errno, Errc::kUnavailable);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) {
      if (is_same_user(socket.get())) return socket;
      return fail(Errc::kAuthentication, "a process of another user offers this host's shared memory");
    }
    const int error = errno;
    if (clock.now() >= deadline) {
      return fail_errno("nobody on this host offers shared memory as " + keeper, error, Errc::kUnavailable);
    }
    ::nanosleep(&kRetryPause, nullptr);
  }
}

/// The segment's descriptor; none where nothing was wanted.
Result<FileDescriptor> receive_memory(int socket) {
  Reply reply;
  Envelope envelope(&reply, sizeof reply);
  const ssize_t got = ::recvmsg(socket, &envelope.message, MSG_CMSG_CLOEXEC);
  const cmsghdr* const rights = CMSG_FIRSTHDR(&envelope.message);
  FileDescriptor memory;
  if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    memory = FileDescriptor(fd);
  }
  if (got != sizeof reply || reply.magic != kHandoverMagic) {
    return fail(Errc::kPeerLost, "the keeper of this host's shared memory broke off");
  }
  if (reply.error != 0) return fail(static_cast<Errc>(reply.error), std::string(reply.text));
  return memory;
}

Result<FileDescriptor> ask(const std::string& keeper, const Request& request, const Clock& clock, Deadline deadline) {
  auto socket = call(keeper, clock, deadline);
  if (!socket) return std::move(socket).error();
  if (::send(socket->get(), &request, sizeof request, MSG_NOSIGNAL) != sizeof request) {
    return fail_errno("the keeper of this host's shared memory cannot be asked", errno, Errc::kPeerLost);
  }
  pollfd answer{socket->get(), POLLIN, 0};
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.now()).count();
    const int ready = ::poll(&answer, 1, static_cast<int>(std::clamp<long>(left, 0, 60'000)));
    if (ready > 0) return receive_memory(socket->get());
    if (ready == 0 && clock.now() >= deadline) {
      return fail(Errc::kTimeout, "the keeper of this host's shared memory does not answer");
    }
  }
}

}  // namespace

Result<Segment> obtain_segment(const std::string& keeper, const SegmentRequest& wanted, const Clock& clock,
                               Deadline deadline) {
  auto memory = ask(keeper, {.wanted = wanted}, clock, deadline);
  if (!memory) return std::move(memory).error();
  return Segment::attach(memory->release());
}

Result<> forget_segments(const std::string& keeper, const Clock& clock, Deadline deadline) {
  const auto answer = ask(keeper, {.forget = true}, clock, deadline);
  return answer ? Result<>() : Result<>(answer.error());
}

}  // namespace tutti
