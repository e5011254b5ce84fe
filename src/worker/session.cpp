// SPDX-License-Identifier: Apache-2.0
#include "tutti/session.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "tutti/error.h"
#include "worker/session_impl.h"
#ifdef TUTTI_WITH_CUDA
#include <cuda_runtime_api.h>
#endif
#ifdef TUTTI_WITH_MPI
#include "common/mpi/mpi_world.h"
#include "tutti/mpi.h"
#endif

namespace tutti {
namespace {

constexpr int kStoppedExit = 75;       // "try again", as schedulers read it
constexpr int kInterruptedExit = 130;  // as after a ^C: nobody is to start it again

// std::terminate's handler has no argument, so the Session that an uncaught error is told through stands here.
std::atomic<worker::SessionImpl*> live_session = nullptr;
std::terminate_handler earlier_handler = nullptr;

[[noreturn]] void end_process(worker::SessionImpl* session, Errc code, const char* what) noexcept {
  if (session != nullptr) session->end_process(code, what);
  std::fprintf(stderr, "tutti: %s\n", what);
  std::fflush(nullptr);
  ::_exit(exit_code(code));
}

/// An Error that nobody catches ends the process with its exit code, after one line, instead of a core dump.
[[noreturn]] void on_terminate() {
  worker::SessionImpl* session = live_session.exchange(nullptr);
  try {
    if (const auto current = std::current_exception()) std::rethrow_exception(current);
  } catch (const Error& error) {
    end_process(session, error.errc(), error.what());
  } catch (const std::exception& error) {
    if (session != nullptr) end_process(session, Errc::kInternal, error.what());
  } catch (...) {
    if (session != nullptr)
      end_process(session, Errc::kInternal, "an exception that is no std::exception was not caught");
  }
  if (earlier_handler != nullptr) earlier_handler();
  std::abort();
}

std::string pack(std::span<const double> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

double combine(double a, double b, Combine how) {
  switch (how) {
    case Combine::kMin:
      return std::min(a, b);
    case Combine::kMax:
      return std::max(a, b);
    default:
      return a + b;
  }
}

constexpr worker::TorchSettings kTorch = {
    .has_gpu = [] { return at::hasCUDA() && at::getNumGPUs() > 0; },
    .threads = [] { return at::get_num_threads(); },
    .set_threads = [](int threads) { at::set_num_threads(threads); },
    .set_seed = [](std::uint64_t seed) { at::manual_seed(seed); },
    .set_deterministic =
        [] {
          at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
          at::globalContext().setDeterministicFillUninitializedMemory(false);
          if (!at::hasCUDA()) return;
          at::globalContext().setDeterministicCuDNN(true);
          at::globalContext().setBenchmarkCuDNN(false);
          ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // read when cuBLAS is first used
        },
    .gpu_bus_id = [](int index) -> std::string {
#ifdef TUTTI_WITH_CUDA
      std::array<char, 32> id{};
      if (::cudaDeviceGetPCIBusId(id.data(), id.size(), index) == cudaSuccess) return id.data();
#endif
      (void)index;
      return "";
    },
};

std::unique_ptr<worker::SessionImpl> begin(std::unique_ptr<MpiWorld> mpi) {
  if (live_session.load() != nullptr) throw UsageError("a process can have one tutti::Session at a time");
  // From here on: an error of joining the run is to end the process by its exit code, too.
  if (std::get_terminate() != on_terminate) earlier_handler = std::set_terminate(on_terminate);
  return std::make_unique<worker::SessionImpl>(environment_snapshot(), std::move(mpi), kTorch);
}

#ifdef TUTTI_WITH_MPI
std::unique_ptr<MpiWorld> world_over(const MpiCommunicator& communicator) {
  auto world = MpiWorld::over(communicator.fortran_handle());
  if (!world) raise(world.error());
  return std::move(*world);
}
#endif

}  // namespace

Session::Session(int, char**) : impl_(begin(nullptr)) {
  live_session = impl_.get();
}

#ifdef TUTTI_WITH_MPI
Session::Session(const MpiCommunicator& communicator) : impl_(begin(world_over(communicator))) {
  live_session = impl_.get();
}
#endif

Session::~Session() {
  live_session = nullptr;
  const bool stopped = impl_->ends_stopped();
  const bool is_managed = impl_->identity().way == worker::Way::kManaged;  // then 75 is for the agent
  const auto by_user = impl_->stopped_by_user();
  impl_.reset();
  if (!stopped) return;
  std::fflush(nullptr);
  ::_exit(*by_user && !is_managed ? kInterruptedExit : kStoppedExit);
}

int Session::rank() const noexcept {
  return impl_->identity().rank;
}
int Session::world_size() const noexcept {
  return impl_->identity().world_size;
}
int Session::local_rank() const noexcept {
  return impl_->identity().local_rank;
}
std::string Session::name() const {
  return impl_->name();
}
std::uint64_t Session::seed() const noexcept {
  return impl_->seed();
}
bool Session::stopping() const noexcept {
  return impl_->stopping();
}
std::string_view Session::exchange() const noexcept {
  return impl_->exchange_name();
}
int Session::shards() const noexcept {
  return between_hosts(impl_->exchange_name()) == "ps" ? impl_->config().shards : 0;
}

c10::Device Session::device() const {
  if (!impl_->on_gpu()) return c10::Device(c10::kCPU);
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(impl_->identity().local_rank));
}

double Session::all_reduce(double value, Combine how) {
  all_reduce(std::span(&value, 1), how);
  return value;
}

void Session::all_reduce(std::span<double> values, Combine how) {
  const std::vector<std::string> all = all_gather(pack(values));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].size() != values.size_bytes()) {
      impl_->raise(fail(Errc::kMismatch, fmt::format("all_reduce of {} numbers on {} and {} on rank {}", values.size(),
                                                     name(), all[rank].size() / sizeof(double), rank)));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      double theirs;
      std::memcpy(&theirs, all[rank].data() + i * sizeof(double), sizeof(double));
      values[i] = rank == 0 ? theirs : combine(values[i], theirs, how);
    }
  }
  if (how != Combine::kMean) return;
  for (double& value : values) value /= world_size();
}

std::string Session::broadcast(std::string value, int root) {
  if (root < 0 || root >= world_size())
    throw UsageError(fmt::format("broadcast from rank {} in a world of {}", root, world_size()));
  if (impl_->member() == nullptr) return value;
  return impl_->check(impl_->member()->broadcast(std::move(value), root, impl_->deadline()));
}

std::vector<std::string> Session::all_gather(std::string value) {
  if (impl_->member() == nullptr) return {std::move(value)};
  return impl_->check(impl_->member()->all_gather(std::move(value), impl_->deadline()));
}

void Session::barrier() {
  if (impl_->member() != nullptr) impl_->check(impl_->member()->barrier(impl_->deadline()));
}

void Session::log(std::string_view name, double value) {
  impl_->log(name, value);
}

void Session::state(std::string name, std::function<void(std::ostream&)> save,
                    std::function<void(std::istream&)> load) {
  impl_->user_states().push_back({std::move(name), std::move(save), std::move(load)});
}

}  // namespace tutti
