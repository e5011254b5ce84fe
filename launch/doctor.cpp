// SPDX-License-Identifier: Apache-2.0
#include "launch/doctor.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <fstream>

#include "common/net/interfaces.h"
#include "launch/child_process.h"
#include "launch/executable.h"
#include "launch/probe.h"

namespace tutti::launch {
namespace {

using Verdict = Check::Verdict;

constexpr double kGiB = 1024.0 * 1024 * 1024;

Check absent(std::string subject, std::string found, bool needed = false) {
  return {needed ? Verdict::kBad : Verdict::kAbsent, std::move(subject), std::move(found), needed};
}
Check good(std::string subject, std::string found, bool needed = false) {
  return {Verdict::kGood, std::move(subject), std::move(found), needed};
}

Check check_tool(const std::string& subject, const std::string& program, const Environment& environment) {
  const std::string path = find_in_path(program, environment);
  if (path.empty()) return absent(subject, "no " + program + " in PATH");
  const std::string version = first_line_of({path, "--version"}, environment);
  return version.empty() ? Check{Verdict::kBad, subject, path + " does not answer"}
                         : good(subject, version + " (" + path + ")");
}

/// "2.15.0" out of the version header.
std::string torch_version(const std::string& root) {
  std::ifstream header(root + "/include/torch/headeronly/version.h");
  if (!header) header.open(root + "/include/torch/csrc/api/include/torch/version.h");
  std::string word, name, number, version;
  while (header >> word) {
    if (word != "#define" || !(header >> name >> number)) continue;
    for (const char* part : {"MAJOR", "MINOR", "PATCH"}) {
      if (name == std::string("TORCH_VERSION_") + part) version += (version.empty() ? "" : ".") + number;
    }
  }
  return version.empty() ? "of a version that its headers do not tell" : version;
}

Check check_torch() {
  const std::string root = TUTTI_TORCH_ROOT;
  const std::string library = root + "/lib/libtorch_cpu.so";
  if (can_load(library)) return good("LibTorch", torch_version(root) + " in " + root, /*needed=*/true);
  if (can_load("libtorch_cpu.so")) return good("LibTorch", "on the library path", /*needed=*/true);
  return absent("LibTorch", "cannot load " + library + ", nor libtorch_cpu.so from the library path", /*needed=*/true);
}

Check check_cuda() {
  const std::string driver = first_line("/proc/driver/nvidia/version");
  if (driver.empty()) return absent("CUDA", "no NVIDIA driver");
  if (!can_load("libcuda.so.1")) return {Verdict::kBad, "CUDA", "a driver, but libcuda.so.1 cannot be loaded"};
  return good("CUDA", driver);
}

Check check_nccl() {
  if (can_load("libnccl.so.2")) return good("NCCL", "libnccl.so.2 on the library path");
  const std::string beside = std::string(TUTTI_TORCH_ROOT) + "/../nvidia/nccl/lib/libnccl.so.2";
  if (can_load(beside)) return good("NCCL", beside);
  return absent("NCCL", "no libnccl.so.2");
}

void check_network(std::vector<Check>& checks) {
  for (const Interface& one : interfaces()) {
    const std::string speed = one.megabits > 0 ? fmt::format(", {} Mbit/s", one.megabits) : "";
    checks.push_back(good("interface " + one.name, one.address + speed));
  }
}

Check check_shared_memory() {
  struct statvfs space = {};
  if (statvfs("/dev/shm", &space) != 0) return absent("/dev/shm", "not mounted");
  return good("/dev/shm", fmt::format("{:.1f} GiB free", static_cast<double>(space.f_bavail * space.f_frsize) / kGiB));
}

Check check_memory() {
  struct sysinfo info = {};
  sysinfo(&info);
  return good("memory", fmt::format("{:.1f} GiB", static_cast<double>(info.totalram) * info.mem_unit / kGiB));
}

Check check_limit(const std::string& subject, int resource, rlim_t least, const char* why) {
  rlimit limit = {};
  getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return good(subject, "unlimited");
  const bool enough = limit.rlim_cur >= least;
  return {enough ? Verdict::kGood : Verdict::kBad, subject, fmt::format("{}{}", limit.rlim_cur, enough ? "" : why)};
}

Check check_slurm(const Environment& environment) {
  Check check = check_tool("Slurm", "srun", environment);
  const auto job = environment.find("SLURM_JOB_ID");
  if (job != environment.end()) check.found += ", in job " + job->second;
  return check;
}

std::string mark(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "ok";
    case Verdict::kAbsent:
      return "--";
    case Verdict::kBad:
      return "!!";
  }
  return {};
}

}  // namespace

Diagnosis diagnose(const Environment& environment) {
  Diagnosis diagnosis;
  auto& checks = diagnosis.checks;
  checks.push_back(check_torch());
  checks.push_back(check_tool("MPI", "mpirun", environment));
  checks.push_back(check_slurm(environment));
  checks.push_back(check_cuda());
  checks.push_back(check_nccl());
  checks.push_back(good("cores", std::to_string(widen_core_mask().size())));
  checks.push_back(check_memory());
  checks.push_back(check_shared_memory());
  checks.push_back(check_limit("open files", RLIMIT_NOFILE, 1024, ": raise it (ulimit -n 4096)"));
  checks.push_back(
      check_limit("locked memory (bytes)", RLIMIT_MEMLOCK, 64 << 10, ": InfiniBand needs more (ulimit -l unlimited)"));
  check_network(checks);
  return diagnosis;
}

std::string Diagnosis::text() const {
  std::string text;
  for (const Check& check : checks)
    text += fmt::format("{}  {:<22} {}\n", mark(check.verdict), check.subject, check.found);
  return text + (can_train() ? "This machine can train on its CPUs.\n" : "Something that training needs is missing.\n");
}

bool Diagnosis::can_train() const {
  return std::none_of(checks.begin(), checks.end(),
                      [](const Check& check) { return check.needed && check.verdict == Verdict::kBad; });
}

}  // namespace tutti::launch
