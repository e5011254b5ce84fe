// SPDX-License-Identifier: Apache-2.0
// MPI_Allreduce in place, as it comes: mpirun -np 2 peer_mpi_allreduce allreduce --bytes 4096
#include "launch/bench/rounds.h"
#include "tests/perf/peers/mpi_world.h"
#include "tests/perf/peers/peer_main.h"

namespace {

class ByMpi final : public tutti::bench::Collective {
 public:
  ByMpi(const tutti::perf::MpiProgram& mpi, std::uint64_t bytes) : mpi_(mpi), bytes_(bytes), memory_(bytes) {}

  int rank() const override { return mpi_.rank(); }
  int ranks() const override { return mpi_.ranks(); }
  std::span<float> values(std::uint32_t bucket) override {
    return {reinterpret_cast<float*>(memory_.places()[bucket]), tutti::bench::elements_of(bucket, bytes_)};
  }
  void reduce(std::uint32_t bucket) override {
    const auto all = values(bucket);
    mpi_.sum(all.data(), static_cast<int>(all.size()));
  }
  tutti::Reduction reduction() const override { return tutti::Reduction::kSum; }
  float tolerance() const override { return 0; }  // the pattern's sums are exact in any order
  void max_over_ranks(std::vector<double>& numbers) override { mpi_.max(numbers); }

 private:
  const tutti::perf::MpiProgram& mpi_;
  const std::uint64_t bytes_;
  tutti::bench::PlainMemory memory_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = tutti::perf::options_or_exit(argc, argv);
  const tutti::perf::MpiProgram mpi(argc, argv);
  for (const std::uint64_t bytes : options.bytes) {
    ByMpi collective(mpi, bytes);
    tutti::perf::tell(tutti::bench::measure_rounds(collective, bytes, options.rounds), "openmpi", mpi.rank());
  }
}
