// SPDX-License-Identifier: Apache-2.0
#include "common/usage.h"

#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

namespace tutti {
namespace {

Duration duration_of(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
}

Duration cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return duration_of(usage.ru_utime) + duration_of(usage.ru_stime);
}

// The second number of /proc/self/statm: resident pages.
std::uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long size = 0, resident = 0;
  const int read = std::fscanf(file, "%llu %llu", &size, &resident);
  std::fclose(file);
  return read == 2 ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace

// NVML is the driver's own library: it is there where a GPU is, and needs nothing of CUDA to build with. These few of
// its functions and structures are as NVIDIA's NVML reference gives them.
class UsageMeter::Gpu {
 public:
  static std::unique_ptr<Gpu> open(const std::string& bus_id) {
    std::unique_ptr<Gpu> gpu(new Gpu);
    return gpu->find(bus_id) ? std::move(gpu) : nullptr;
  }
  ~Gpu() {
    if (shutdown_ != nullptr) shutdown_();
    if (library_ != nullptr) ::dlclose(library_);
  }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  void read(Usage& usage) const {
    Memory memory{};
    if (get_memory_(device_, &memory) == kSuccess) usage.gpu_memory_bytes = memory.used;
    Utilization utilization{};
    if (get_utilization_(device_, &utilization) == kSuccess) usage.gpu_utilization = utilization.gpu / 100.0;
  }

 private:
  using Device = void*;
  struct Memory {
    unsigned long long total, free, used;  // bytes
  };
  struct Utilization {
    unsigned int gpu, memory;  // percent
  };
  static constexpr int kSuccess = 0;

  Gpu() : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {}

  template <class F>
  bool bind(F*& function, const char* name) {
    function = library_ == nullptr ? nullptr : reinterpret_cast<F*>(::dlsym(library_, name));
    return function != nullptr;
  }
  bool find(const std::string& bus_id) {
    int (*initialize)() = nullptr;
    int (*shutdown)() = nullptr;
    int (*get_device)(const char*, Device*) = nullptr;
    if (!bind(initialize, "nvmlInit_v2") || !bind(shutdown, "nvmlShutdown") ||
        !bind(get_device, "nvmlDeviceGetHandleByPciBusId_v2") || !bind(get_memory_, "nvmlDeviceGetMemoryInfo") ||
        !bind(get_utilization_, "nvmlDeviceGetUtilizationRates") || initialize() != kSuccess)
      return false;
    shutdown_ = shutdown;
    return get_device(bus_id.c_str(), &device_) == kSuccess;
  }

  void* const library_;
  int (*shutdown_)() = nullptr;  // null: it was never initialized
  int (*get_memory_)(Device, Memory*) = nullptr;
  int (*get_utilization_)(Device, Utilization*) = nullptr;
  Device device_ = nullptr;
};

UsageMeter::UsageMeter(const std::string& gpu) : gpu_(gpu.empty() ? nullptr : Gpu::open(gpu)) {}
UsageMeter::~UsageMeter() = default;

Usage UsageMeter::read() const {
  Usage usage;
  usage.memory_bytes = resident_bytes();
  usage.cpu = cpu_time();
  if (gpu_) gpu_->read(usage);
  return usage;
}

}  // namespace tutti
