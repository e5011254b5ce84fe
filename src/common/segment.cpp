// SPDX-License-Identifier: Apache-2.0
#include "common/segment.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>
#include <string>

#include "common/alignment.h"
#include "common/assert.h"

namespace tutti {
namespace {

constexpr std::uint64_t kSegmentMagic = 0x676573'6974747574;  // "tuttiseg" in memory
constexpr std::uint32_t kSegmentVersion = 2;
constexpr std::uint32_t kOneMark = 1u << 8;
constexpr int kClaimBits = 24;

// Bounds within which the arithmetic below cannot overflow.
constexpr SegmentShape kLargest = {1u << 12, 1u << 16, 1ull << 28, 1ull << 44};

bool is_allowed(const SegmentShape& shape) {
  return shape.ranks > 0 && shape.ranks <= kLargest.ranks && shape.buckets <= kLargest.buckets &&
         shape.blocks <= kLargest.blocks && shape.data_bytes <= kLargest.data_bytes;
}

// A rank's marks fill cache lines of their own: ranks that mark at the same time do not slow each other down.
std::size_t row_bytes(const SegmentShape& shape) {
  return rounded_up(shape.buckets * sizeof(std::uint64_t), kCacheLineBytes);
}

struct Layout {
  std::size_t ready, work, done, data, total;
};
Layout layout_of(const SegmentShape& shape, std::size_t header_bytes) {
  Layout layout{};
  layout.ready = rounded_up(header_bytes, kCacheLineBytes);
  layout.work = layout.ready + shape.ranks * row_bytes(shape);
  layout.done = layout.work + shape.buckets * kCacheLineBytes;
  layout.data = rounded_up(layout.done + shape.blocks * sizeof(std::uint64_t), kPageBytes);
  layout.total = layout.data + shape.data_bytes;
  return layout;
}

template <class T>
std::atomic_ref<T> atomic(T& value) {
  static_assert(std::atomic_ref<T>::is_always_lock_free, "a lock would belong to one process");
  return std::atomic_ref<T>(value);
}

int futex(std::uint32_t* word, int operation, std::uint32_t value, const timespec* until) {
  return static_cast<int>(::syscall(SYS_futex, word, operation, value, until, nullptr, FUTEX_BITSET_MATCH_ANY));
}

}  // namespace

struct Segment::Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t reserved;
  SegmentShape shape;
  alignas(kCacheLineBytes) std::uint32_t word;
  std::uint32_t waiters;  // never too low; too high after a waiter was killed, which costs a system call for each mark
  std::uint32_t generation;
};

/// A bucket's blocks, in a cache line of their own.
struct Segment::Work {
  alignas(kCacheLineBytes) std::uint64_t claimed;  // the round, then in kClaimBits how many of its blocks are taken
  std::uint64_t finished;                          // blocks of all rounds
};

Result<Segment> Segment::create(const SegmentShape& shape, std::uint32_t generation) {
  if (!is_allowed(shape)) return fail(Errc::kUsage, "a segment of this shape is beyond all bounds");
  auto memory = SharedMemory::create("tutti-segment", layout_of(shape, sizeof(Header)).total);
  if (!memory) return std::move(memory).error();
  auto* header = reinterpret_cast<Header*>(memory->bytes().data());
  header->version = kSegmentVersion;
  header->shape = shape;
  header->generation = generation;
  atomic(header->magic).store(kSegmentMagic, std::memory_order_release);
  return Segment(*std::move(memory), shape);
}

Result<Segment> Segment::attach(int fd) {
  auto memory = SharedMemory::attach(fd, sizeof(Header));
  if (!memory) return std::move(memory).error();
  auto* header = reinterpret_cast<Header*>(memory->bytes().data());
  if (atomic(header->magic).load(std::memory_order_acquire) != kSegmentMagic) {
    return fail(Errc::kBadData, "the shared memory is no segment of tutti's");
  }
  if (header->version != kSegmentVersion) {
    return fail(Errc::kBadData, "the segment is of version " + std::to_string(header->version) + ", expected " +
                                    std::to_string(kSegmentVersion));
  }
  const SegmentShape shape = header->shape;  // a copy, so that what was checked is what is used
  if (!is_allowed(shape)) return fail(Errc::kBadData, "the segment's sizes are beyond all bounds");
  const std::size_t expected = layout_of(shape, sizeof(Header)).total, found = memory->bytes().size();
  if (found != expected) {
    return fail(Errc::kBadData, "the segment holds " + std::to_string(found) + " bytes, expected " +
                                    std::to_string(expected) + " for its sizes");
  }
  return Segment(*std::move(memory), shape);
}

Segment::Segment(SharedMemory memory, const SegmentShape& shape) : memory_(std::move(memory)), shape_(shape) {
  const Layout layout = layout_of(shape_, sizeof(Header));
  std::byte* base = memory_.bytes().data();
  header_ = reinterpret_cast<Header*>(base);
  ready_ = reinterpret_cast<std::uint64_t*>(base + layout.ready);
  work_ = reinterpret_cast<Work*>(base + layout.work);
  done_ = reinterpret_cast<std::uint64_t*>(base + layout.done);
  data_ = memory_.bytes().subspan(layout.data);
}

void Segment::give_back(std::size_t offset, std::size_t bytes) noexcept {
  memory_.give_back(static_cast<std::size_t>(data_.data() - memory_.bytes().data()) + offset, bytes);
}

Result<> Segment::reserve(std::size_t offset, std::size_t bytes) {
  return memory_.reserve(static_cast<std::size_t>(data_.data() - memory_.bytes().data()) + offset, bytes);
}

std::uint32_t Segment::generation() const noexcept {
  return atomic(header_->generation).load(std::memory_order_acquire);
}

void Segment::begin_generation(std::uint32_t generation) noexcept {
  atomic(header_->generation).store(generation, std::memory_order_release);
  atomic(header_->word).fetch_and(~0xffu);
}

std::uint64_t& Segment::ready_mark(std::uint32_t rank, std::uint32_t bucket) const noexcept {
  TUTTI_ASSERT(rank < shape_.ranks && bucket < shape_.buckets, "a ready mark within the segment's shape");
  return ready_[rank * (row_bytes(shape_) / sizeof(std::uint64_t)) + bucket];
}

std::uint64_t& Segment::done_mark(std::uint64_t block) const noexcept {
  TUTTI_ASSERT(block < shape_.blocks, "a done mark within the segment's shape");
  return done_[block];
}

void Segment::mark_ready(std::uint32_t rank, std::uint32_t bucket, std::uint64_t step) noexcept {
  atomic(ready_mark(rank, bucket)).store(step, std::memory_order_release);
}

void Segment::set_ready(std::uint32_t rank, std::uint32_t bucket, std::uint64_t step) noexcept {
  mark_ready(rank, bucket, step);
  wake_all();
}

std::uint64_t Segment::ready(std::uint32_t rank, std::uint32_t bucket) const noexcept {
  return atomic(ready_mark(rank, bucket)).load(std::memory_order_acquire);
}

void Segment::set_done(std::uint64_t block, std::uint64_t step) noexcept {
  atomic(done_mark(block)).store(step, std::memory_order_release);
}

std::uint64_t Segment::done(std::uint64_t block) const noexcept {
  return atomic(done_mark(block)).load(std::memory_order_acquire);
}

Segment::Work& Segment::work(std::uint32_t bucket) const noexcept {
  TUTTI_ASSERT(bucket < shape_.buckets, "a bucket within the segment's shape");
  return work_[bucket];
}

std::optional<std::uint32_t> Segment::claim(std::uint32_t bucket, std::uint64_t round, std::uint32_t blocks) noexcept {
  constexpr std::uint64_t kTaken = (std::uint64_t{1} << kClaimBits) - 1;
  TUTTI_ASSERT(blocks <= kTaken, "a bucket's blocks can be counted");
  const auto claimed = atomic(work(bucket).claimed);
  std::uint64_t seen = claimed.load(std::memory_order_relaxed), next = 0;
  do {
    if (seen >> kClaimBits > round) return std::nullopt;
    const std::uint64_t begun = seen >> kClaimBits == round ? seen : round << kClaimBits;
    if ((begun & kTaken) >= blocks) return std::nullopt;
    next = begun + 1;
  } while (!claimed.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_relaxed));
  return static_cast<std::uint32_t>((next & kTaken) - 1);
}

std::uint64_t Segment::finish(std::uint32_t bucket) noexcept {
  return atomic(work(bucket).finished).fetch_add(1, std::memory_order_acq_rel) + 1;
}

std::uint64_t Segment::finished(std::uint32_t bucket) const noexcept {
  return atomic(work(bucket).finished).load(std::memory_order_acquire);
}

void Segment::resume(std::uint32_t bucket, std::uint64_t round, std::uint64_t finished) noexcept {
  atomic(work(bucket).claimed).store(round << kClaimBits, std::memory_order_release);
  atomic(work(bucket).finished).store(finished, std::memory_order_release);
}

std::uint32_t Segment::word() const noexcept {
  return atomic(header_->word).load();
}

// The word changes before the waiters are counted, and a waiter counts itself before the system compares the word: one
// of the two sees the other, so the system call is needed only where somebody sleeps.
void Segment::wake_all() noexcept {
  atomic(header_->word).fetch_add(kOneMark);
  if (atomic(header_->waiters).load() != 0) futex(&header_->word, FUTEX_WAKE, INT_MAX, nullptr);
}

bool Segment::sleep(std::uint32_t seen, Deadline deadline) const noexcept {
  const auto since_boot = deadline.time_since_epoch();  // of the monotonic clock, which the system call takes as it is
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_boot);
  const timespec until{static_cast<time_t>(seconds.count()), static_cast<long>((since_boot - seconds).count())};
  atomic(header_->waiters).fetch_add(1);
  const bool timed_out = futex(&header_->word, FUTEX_WAIT_BITSET, seen, &until) != 0 && errno == ETIMEDOUT;
  atomic(header_->waiters).fetch_sub(1);
  return !timed_out;
}

void Segment::set_abort(std::uint8_t reason) noexcept {
  TUTTI_ASSERT(reason != 0, "an abort has a reason");
  std::uint32_t seen = word();
  while (reason_in(seen) == 0 && !atomic(header_->word).compare_exchange_weak(seen, seen | reason)) {
  }
  wake_all();
}

}  // namespace tutti
