// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_mpi.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "common/bounded_archive.h"
#include "common/mpi/backoff.h"
#include "common/mpi/mpi_check.h"
#include "common/secret.h"
#include "ps/reduce.h"
#include "worker/mpi_elements.h"

namespace tutti::worker {
namespace {

/// A call of MPI's takes an int of elements; a larger bucket becomes several calls.
constexpr std::uint64_t kElementsMax = 1u << 30;
static_assert(kElementsMax <= INT_MAX);

class MpiExchange final : public Exchange {
 public:
  explicit MpiExchange(const MpiWorld& world) : world_(world) {}
  explicit MpiExchange(std::unique_ptr<MpiWorld> world) : owned_(std::move(world)), world_(*owned_) {}
  ~MpiExchange() override;

  ExchangeTraits traits() const noexcept override { return {"mpi", /*rank_ordered=*/false}; }
  Result<> open(ExchangePlan plan, Deadline deadline) override;
  Result<> start(const ExchangeId& id, std::uint32_t bucket) override;
  Result<> poll() override;
  Result<> wait(std::uint32_t bucket, Deadline deadline) override;
  Result<> finish(Deadline deadline) override;
  void abort(const Failure& cause) noexcept override;

 private:
  Result<> duplicate_communicator(Deadline deadline);
  Result<> agree_on_plan(Deadline deadline);
  Result<> wait_for(MPI_Request request, Deadline deadline);
  template <class IsDone>
  Result<> poll_until(IsDone is_done, Deadline deadline);
  Result<> start_part(const BucketSpec& spec, std::byte* at, int count);
  void bucket_done(std::uint32_t bucket);
  Result<> not_aborted() const;

  const std::unique_ptr<MpiWorld> owned_;  // null where the world is somebody else's
  const MpiWorld& world_;
  ExchangePlan plan_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  std::map<DType, MpiSum> sums_;
  std::vector<MPI_Request> requests_;      // in flight, and those that ended, until all have
  std::vector<std::uint32_t> bucket_of_;   // of each request
  std::vector<int> ended_;                 // scratch of MPI_Testsome
  std::vector<std::uint32_t> parts_left_;  // of each bucket
  std::size_t in_flight_ = 0;              // calls of MPI that did not end
  std::array<std::uint64_t, 2> hash_{};    // of the plan, and inverted

  std::atomic<bool> aborted_ = false;
  mutable std::mutex mutex_;
  std::optional<Failure> cause_;  // guarded by mutex_
};

MpiExchange::~MpiExchange() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // With messages in flight the communicator is left to the end of the process.
  if (finalized == 0 && in_flight_ == 0 && communicator_ != MPI_COMM_NULL) MPI_Comm_free(&communicator_);
}

Result<> MpiExchange::open(ExchangePlan plan, Deadline deadline) {
  TUTTI_TRY(not_aborted());
  TUTTI_TRY(ps::check_reducible(plan.buckets));
  plan_ = std::move(plan);
  parts_left_.assign(plan_.buckets.size(), 0);
  if (communicator_ == MPI_COMM_NULL) TUTTI_TRY(duplicate_communicator(deadline));
  for (const BucketSpec& spec : plan_.buckets) sums_.try_emplace(spec.dtype, spec.dtype);
  return agree_on_plan(deadline);
}

Result<> MpiExchange::duplicate_communicator(Deadline deadline) {
  MPI_Request request = MPI_REQUEST_NULL;
  const MPI_Comm whole = MPI_Comm_f2c(world_.fortran_communicator());
  TUTTI_TRY(check_mpi(MPI_Comm_idup(whole, &communicator_, &request), "MPI_Comm_idup"));
  TUTTI_TRY(wait_for(request, deadline));
  return check_mpi(MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

Result<> MpiExchange::agree_on_plan(Deadline deadline) {
  // The greatest hash and the greatest inverted hash are each other's inverse where all are the same.
  const std::string table = encode(plan_.object) + encode(plan_.number) + encode(plan_.buckets);
  const Digest digest = sha256(std::as_bytes(std::span(table)));
  std::memcpy(&hash_[0], digest.data(), sizeof hash_[0]);
  hash_[1] = ~hash_[0];
  MPI_Request request = MPI_REQUEST_NULL;
  const int status = MPI_Iallreduce(MPI_IN_PLACE, hash_.data(), 2, MPI_UINT64_T, MPI_MAX, communicator_, &request);
  TUTTI_TRY(check_mpi(status, "MPI_Iallreduce"));
  TUTTI_TRY(wait_for(request, deadline));
  if (hash_[0] == ~hash_[1]) return {};
  return fail(Errc::kMismatch, "ranks disagree on the buckets of model " + std::to_string(plan_.object));
}

Result<> MpiExchange::wait_for(MPI_Request request, Deadline deadline) {
  ++in_flight_;
  Backoff backoff;
  for (int done = 0; done == 0; backoff.pause()) {
    TUTTI_TRY(check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
    TUTTI_TRY(not_aborted());
    if (done == 0 && std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::kTimeout, "not every rank opened its exchange over MPI in time");
    }
  }
  --in_flight_;
  return {};
}

Result<> MpiExchange::start(const ExchangeId&, std::uint32_t bucket) {
  TUTTI_TRY(not_aborted());
  const BucketSpec& spec = plan_.buckets[bucket];
  for (std::uint64_t begin = 0; begin < spec.elements; begin += kElementsMax) {
    const auto count = static_cast<int>(std::min(kElementsMax, spec.elements - begin));
    TUTTI_TRY(start_part(spec, plan_.memory[bucket] + begin * size_of(spec.dtype), count));
    bucket_of_.push_back(bucket);
    ++parts_left_[bucket];
    ++in_flight_;
  }
  return {};
}

Result<> MpiExchange::start_part(const BucketSpec& spec, std::byte* at, int count) {
  MPI_Request request = MPI_REQUEST_NULL;
  const MPI_Datatype type = mpi_type(spec.dtype);
  const int status =
      spec.reduction == Reduction::kBroadcast
          ? MPI_Ibcast(at, count, type, /*root=*/0, communicator_, &request)
          : MPI_Iallreduce(MPI_IN_PLACE, at, count, type, sums_.at(spec.dtype).get(), communicator_, &request);
  TUTTI_TRY(check_mpi(status, "cannot start an exchange"));
  requests_.push_back(request);
  return {};
}

Result<> MpiExchange::poll() {
  TUTTI_TRY(not_aborted());
  if (in_flight_ == 0) return {};
  ended_.resize(requests_.size());
  int count = 0;
  const int status =
      MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, ended_.data(), MPI_STATUSES_IGNORE);
  TUTTI_TRY(check_mpi(status, "an exchange failed"));
  if (count == MPI_UNDEFINED) count = 0;
  for (int i = 0; i < count; ++i) {
    const std::uint32_t bucket = bucket_of_[static_cast<std::size_t>(ended_[static_cast<std::size_t>(i)])];
    --in_flight_;
    if (--parts_left_[bucket] == 0) bucket_done(bucket);
  }
  if (in_flight_ > 0) return {};
  requests_.clear();
  bucket_of_.clear();
  return {};
}

void MpiExchange::bucket_done(std::uint32_t bucket) {
  const BucketSpec& spec = plan_.buckets[bucket];
  if (spec.reduction == Reduction::kAverage) {
    ps::divide(spec.dtype, {plan_.memory[bucket], spec.bytes()}, static_cast<std::size_t>(world_.size()));
  }
  tell_done(bucket);
}

template <class IsDone>
Result<> MpiExchange::poll_until(IsDone is_done, Deadline deadline) {
  Backoff backoff;
  while (!is_done()) {
    TUTTI_TRY(poll());
    if (is_done()) break;
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::kTimeout, std::to_string(in_flight_) + " messages of an exchange over MPI did not end in time");
    }
    backoff.pause();
  }
  return not_aborted();
}

Result<> MpiExchange::wait(std::uint32_t bucket, Deadline deadline) {
  return poll_until([&] { return parts_left_[bucket] == 0; }, deadline);
}

Result<> MpiExchange::finish(Deadline deadline) {
  return poll_until([&] { return in_flight_ == 0; }, deadline);
}

void MpiExchange::abort(const Failure& cause) noexcept {
  const std::lock_guard lock(mutex_);
  if (!cause_) cause_ = cause;
  aborted_ = true;
}

Result<> MpiExchange::not_aborted() const {
  if (!aborted_) return {};
  const std::lock_guard lock(mutex_);
  return *cause_;
}

}  // namespace

std::unique_ptr<Exchange> make_mpi_exchange(const MpiWorld& world) {
  return std::make_unique<MpiExchange>(world);
}

std::unique_ptr<Exchange> make_mpi_exchange(std::unique_ptr<MpiWorld> world) {
  return std::make_unique<MpiExchange>(std::move(world));
}

}  // namespace tutti::worker
