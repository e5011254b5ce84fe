// SPDX-License-Identifier: Apache-2.0
#include "common/mpi/mpi_world.h"

#include <mpi.h>

#include <utility>

#include "common/mpi/backoff.h"
#include "common/mpi/mpi_check.h"

namespace tutti {
namespace {

/// Waits without blocking in MPI, whose own waits know no deadline.
Result<> wait(MPI_Request request, const char* what, Deadline deadline) {
  Backoff backoff;
  int done = 0;
  while (true) {
    TUTTI_TRY(check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what));
    if (done != 0) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::kTimeout, std::string(what) + ": the other ranks did not answer in time");
    }
    backoff.pause();
  }
}

}  // namespace

/// Buffers belong to it, because a collective that was given up at its deadline may still write into them.
struct MpiWorld::Communicator {
  explicit Communicator(MPI_Comm of) : handle(of) {}
  ~Communicator() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0 && !abandoned) MPI_Comm_free(&handle);
    // A world that timed out keeps its memory until the process ends.
    if (abandoned) new std::vector<std::shared_ptr<void>>(std::move(buffers));
  }

  template <class T>
  std::shared_ptr<T> buffer(T initial) {
    auto made = std::make_shared<T>(std::move(initial));
    buffers.push_back(made);
    return made;
  }
  Result<> finish(int status, MPI_Request request, const char* what, Deadline deadline) {
    TUTTI_TRY(check_mpi(status, what));
    auto waited = wait(request, what, deadline);
    abandoned = abandoned || !waited;
    if (!abandoned) buffers.clear();
    return waited;
  }

  MPI_Comm handle;
  std::vector<std::shared_ptr<void>> buffers;
  bool abandoned = false;
};

MpiWorld::MpiWorld(std::unique_ptr<Communicator> communicator) : communicator_(std::move(communicator)) {}
MpiWorld::~MpiWorld() = default;

Result<std::unique_ptr<MpiWorld>> MpiWorld::init() {
  int initialised = 0;
  MPI_Initialized(&initialised);
  if (initialised == 0) {
    int given = MPI_THREAD_SINGLE;
    TUTTI_TRY(check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &given), "MPI_Init_thread"));
  }
  auto world = over(MPI_Comm_c2f(MPI_COMM_WORLD));
  if (world) (*world)->finalizes_ = initialised == 0;
  return world;
}

Result<std::unique_ptr<MpiWorld>> MpiWorld::over(int fortran_communicator) {
  MPI_Comm duplicate = MPI_COMM_NULL;
  TUTTI_TRY(check_mpi(MPI_Comm_dup(MPI_Comm_f2c(fortran_communicator), &duplicate), "MPI_Comm_dup"));
  return adopt(std::make_unique<Communicator>(duplicate));
}

Result<std::unique_ptr<MpiWorld>> MpiWorld::adopt(std::unique_ptr<Communicator> communicator) {
  std::unique_ptr<MpiWorld> world(new MpiWorld(std::move(communicator)));
  const MPI_Comm handle = world->communicator_->handle;
  TUTTI_TRY(check_mpi(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  TUTTI_TRY(world->find_place());
  return world;
}

Result<std::unique_ptr<MpiWorld>> MpiWorld::part(bool belongs, Deadline deadline) {
  TUTTI_TRY(agree(0, deadline));  // MPI_Comm_split knows no deadline, so it begins when everybody is there
  MPI_Comm apart = MPI_COMM_NULL;
  const int color = belongs ? 0 : MPI_UNDEFINED;
  TUTTI_TRY(check_mpi(MPI_Comm_split(communicator_->handle, color, rank_, &apart), "MPI_Comm_split"));
  if (!belongs) return std::unique_ptr<MpiWorld>();
  return adopt(std::make_unique<Communicator>(apart));
}

Result<> MpiWorld::find_place() {
  TUTTI_TRY(check_mpi(MPI_Comm_rank(communicator_->handle, &rank_), "MPI_Comm_rank"));
  TUTTI_TRY(check_mpi(MPI_Comm_size(communicator_->handle, &size_), "MPI_Comm_size"));
  int given = MPI_THREAD_SINGLE;
  TUTTI_TRY(check_mpi(MPI_Query_thread(&given), "MPI_Query_thread"));
  thread_multiple_ = given == MPI_THREAD_MULTIPLE;
  return {};
}

int MpiWorld::fortran_communicator() const noexcept {
  return MPI_Comm_c2f(communicator_->handle);
}

Result<std::vector<std::string>> MpiWorld::all_gather(const std::string& contribution, Deadline deadline) {
  auto& group = *communicator_;
  MPI_Request request = MPI_REQUEST_NULL;

  const auto length = group.buffer(static_cast<int>(contribution.size()));
  const auto lengths = group.buffer(std::vector<int>(static_cast<std::size_t>(size_)));
  int status = MPI_Iallgather(length.get(), 1, MPI_INT, lengths->data(), 1, MPI_INT, group.handle, &request);
  TUTTI_TRY(group.finish(status, request, "MPI_Iallgather", deadline));

  std::vector<int> starts;
  int total = 0;
  for (int one : *lengths) {
    starts.push_back(total);
    total += one;
  }
  const auto sent = group.buffer(contribution);
  const auto counts = group.buffer(*lengths);
  const auto places = group.buffer(starts);
  const auto bytes = group.buffer(std::string(static_cast<std::size_t>(total), '\0'));
  status = MPI_Iallgatherv(sent->data(), *length, MPI_BYTE, bytes->data(), counts->data(), places->data(), MPI_BYTE,
                           group.handle, &request);
  TUTTI_TRY(group.finish(status, request, "MPI_Iallgatherv", deadline));

  std::vector<std::string> all;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    all.push_back(bytes->substr(static_cast<std::size_t>(starts[i]), static_cast<std::size_t>((*lengths)[i])));
  }
  return all;
}

Result<std::string> MpiWorld::broadcast(const std::string& contribution, int root, Deadline deadline) {
  auto& group = *communicator_;
  MPI_Request request = MPI_REQUEST_NULL;

  const auto length = group.buffer(contribution.size());
  int status = MPI_Ibcast(length.get(), sizeof(std::size_t), MPI_BYTE, root, group.handle, &request);
  TUTTI_TRY(group.finish(status, request, "MPI_Ibcast", deadline));

  const auto bytes = group.buffer(rank_ == root ? contribution : std::string(*length, '\0'));
  status = MPI_Ibcast(bytes->data(), static_cast<int>(bytes->size()), MPI_BYTE, root, group.handle, &request);
  TUTTI_TRY(group.finish(status, request, "MPI_Ibcast", deadline));
  return *bytes;
}

Result<int> MpiWorld::agree(int value, Deadline deadline) {
  auto& group = *communicator_;
  MPI_Request request = MPI_REQUEST_NULL;
  const auto mine = group.buffer(value);
  const auto greatest = group.buffer(value);
  const int status = MPI_Iallreduce(mine.get(), greatest.get(), 1, MPI_INT, MPI_MAX, group.handle, &request);
  TUTTI_TRY(group.finish(status, request, "MPI_Iallreduce", deadline));
  return *greatest;
}

Result<> MpiWorld::finalize() {
  if (!finalizes_) return {};
  finalizes_ = false;
  if (communicator_->abandoned) return fail(Errc::kTimeout, "MPI_Finalize would wait for ranks that did not answer");
  return check_mpi(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace tutti
