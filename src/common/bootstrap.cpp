// SPDX-License-Identifier: Apache-2.0
#include "common/bootstrap.h"

#include <fcntl.h>
#include <openssl/crypto.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "common/alignment.h"
#include "common/bounded_archive.h"
#include "common/file.h"

namespace tutti {
namespace {

constexpr std::uint64_t kBootstrapBytesMax = 1 << 20;
constexpr int kActivityBits = 8;
const std::string kDescriptor = "the descriptor from the agent";

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

// Clears the copy of the secret that a buffer holds, on every way out.
struct Cleared {
  std::string bytes;
  ~Cleared() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
};

}  // namespace

// How the secret is written stands here and not in secret.h, so that no other message can carry one by mistake.
template <class Archive>
void save(Archive& archive, const Bootstrap& b) {
  archive(b.role, b.rank, b.world_size, b.local_rank, b.local_size, b.host_index, b.hosts, b.generation, b.newcomer,
          b.host, b.address, b.host_memory, b.recordings, b.coordinator.host, b.coordinator.port, b.config,
          cereal::binary_data(b.job.data(), b.job.size()),
          cereal::binary_data(b.secret.bytes().data(), b.secret.bytes().size()));
}
template <class Archive>
void load(Archive& archive, Bootstrap& b) {
  Digest secret{};
  archive(b.role, b.rank, b.world_size, b.local_rank, b.local_size, b.host_index, b.hosts, b.generation, b.newcomer,
          b.host, b.address, b.host_memory, b.recordings, b.coordinator.host, b.coordinator.port, b.config,
          cereal::binary_data(b.job.data(), b.job.size()), cereal::binary_data(secret.data(), secret.size()));
  b.secret = Secret(secret);
  OPENSSL_cleanse(secret.data(), secret.size());
}

RecordedProcess recorded_process(const Bootstrap& bootstrap) {
  return {.role = bootstrap.role,
          .rank = bootstrap.rank,
          .generation = bootstrap.generation,
          .pid = 0,
          .host = bootstrap.host};
}

std::string encode(const Bootstrap& bootstrap) {
  return encode<Bootstrap>(bootstrap);
}

Result<Bootstrap> decode_bootstrap(std::string_view bytes) {
  return decode<Bootstrap>(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

Result<> write_bootstrap(int fd, const Bootstrap& bootstrap) {
  const Cleared encoded{encode(bootstrap)};
  const std::uint64_t size = encoded.bytes.size();
  TUTTI_TRY(write_all(fd, bytes_of(size), "the descriptor to a child"));
  return write_all(fd, std::as_bytes(std::span(encoded.bytes)), "the descriptor to a child");
}

Result<Bootstrap> read_bootstrap(int fd) {
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return fail_errno(kDescriptor + " is not open", errno);
  std::uint64_t size = 0;
  TUTTI_TRY(read_exactly(fd, std::as_writable_bytes(std::span(&size, 1)), kDescriptor));
  if (size > kBootstrapBytesMax) {
    return fail(Errc::kProtocol, kDescriptor + " announces " + std::to_string(size) + " bytes, expected at most " +
                                     std::to_string(kBootstrapBytesMax));
  }
  Cleared encoded{std::string(size, '\0')};
  TUTTI_TRY(read_exactly(fd, std::as_writable_bytes(std::span(encoded.bytes)), kDescriptor));
  return decode_bootstrap(encoded.bytes);
}

Result<StatusPage> StatusPage::create() {
  auto memory = SharedMemory::create("tutti-status", kPageBytes);
  if (!memory) return std::move(memory).error();
  return StatusPage(*std::move(memory));
}

Result<StatusPage> StatusPage::open(int fd) {
  auto memory = SharedMemory::attach(fd, kPageBytes);
  if (!memory) return std::move(memory).error();
  return StatusPage(*std::move(memory));
}

std::uint64_t StatusPage::load(Word word) const noexcept {
  auto* const words = reinterpret_cast<std::uint64_t*>(memory_.bytes().data());
  return std::atomic_ref(words[word]).load(std::memory_order_relaxed);
}

void StatusPage::store(Word word, std::uint64_t value) noexcept {
  auto* const words = reinterpret_cast<std::uint64_t*>(memory_.bytes().data());
  std::atomic_ref(words[word]).store(value, std::memory_order_relaxed);
}

void StatusPage::set_step(std::uint64_t step) noexcept {
  store(kStep, step);
}
std::uint64_t StatusPage::step() const noexcept {
  return load(kStep);
}

void StatusPage::set_wish(Wish wish) noexcept {
  store(kWish, static_cast<std::uint64_t>(wish));
}
StatusPage::Wish StatusPage::wish() const noexcept {
  const std::uint64_t word = load(kWish);
  return word > static_cast<std::uint64_t>(Wish::kEnd) ? Wish::kNone : static_cast<Wish>(word);
}

void StatusPage::set_listening() noexcept {
  store(kListening, 1);
}
bool StatusPage::listening() const noexcept {
  return load(kListening) != 0;
}

void StatusPage::beat() noexcept {
  store(kBeats, load(kBeats) + 1);
}
std::uint64_t StatusPage::beats() const noexcept {
  return load(kBeats);
}

void StatusPage::set_activity(Activity activity, std::uint64_t changes) noexcept {
  store(kActivity, changes << kActivityBits | static_cast<std::uint64_t>(activity));
}
Activity StatusPage::activity() const noexcept {
  const std::uint64_t word = load(kActivity) % (1 << kActivityBits);
  return word > static_cast<std::uint64_t>(last_enumerator(Activity())) ? Activity::kStarting
                                                                        : static_cast<Activity>(word);
}
std::uint64_t StatusPage::activity_changes() const noexcept {
  return load(kActivity) >> kActivityBits;
}

void StatusPage::set_waited(Duration waited) noexcept {
  store(kWaited, static_cast<std::uint64_t>(waited.count()));
}
Duration StatusPage::waited() const noexcept {
  return Duration(static_cast<std::int64_t>(load(kWaited)));
}

void StatusPage::set_lease(TimePoint end) noexcept {
  store(kLease, static_cast<std::uint64_t>(end.time_since_epoch().count()));
}
bool StatusPage::lease_ended(TimePoint now) const noexcept {
  const std::uint64_t end = load(kLease);
  return end != 0 && now.time_since_epoch().count() > static_cast<std::int64_t>(end);
}

Result<StatusPage> StatusPage::share() const {
  const int copy = ::fcntl(fd(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return fail_errno("no descriptor for the status page", errno);
  return open(copy);
}

}  // namespace tutti
