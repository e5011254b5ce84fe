// SPDX-License-Identifier: Apache-2.0
// What the peers over MPI share: MPI's life, and a few numbers of every rank. Thread safety: the main thread.
#pragma once

#include <mpi.h>

#include <vector>

namespace tutti::perf {

class MpiProgram {
 public:
  MpiProgram(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
  }
  ~MpiProgram() { MPI_Finalize(); }
  MpiProgram(const MpiProgram&) = delete;
  MpiProgram& operator=(const MpiProgram&) = delete;

  int rank() const noexcept { return rank_; }
  int ranks() const noexcept { return ranks_; }
  void meet() const { MPI_Barrier(MPI_COMM_WORLD); }
  static void sum(float* values, int count) {
    MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  }
  static void max(std::vector<double>& numbers) {
    MPI_Allreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(numbers.size()), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  }
  std::vector<double> gather(const std::vector<double>& numbers) const {
    std::vector<double> all(numbers.size() * static_cast<std::size_t>(ranks_));
    const int count = static_cast<int>(numbers.size());
    MPI_Allgather(numbers.data(), count, MPI_DOUBLE, all.data(), count, MPI_DOUBLE, MPI_COMM_WORLD);
    return all;
  }

 private:
  int rank_ = 0, ranks_ = 1;
};

}  // namespace tutti::perf
