// SPDX-License-Identifier: Apache-2.0
// The exchange over MPI, for buckets in the memory of an embedded run's processes. Sums in the order of the MPI
// library, which is repeatable for one topology. Every MPI call is made on the training thread, so that an MPI of any
// thread level will do. Thread safety: as Exchange says.
#pragma once

#include <memory>

#include "common/mpi/mpi_world.h"
#include "worker/exchange.h"

namespace tutti::worker {

/// Its open() duplicates the world's communicator, so that several exchanges never meet in each other's messages.
/// `world` must outlive it, and be finalized after it.
std::unique_ptr<Exchange> make_mpi_exchange(const MpiWorld& world);
/// The same over a world that goes with it.
std::unique_ptr<Exchange> make_mpi_exchange(std::unique_ptr<MpiWorld> world);

}  // namespace tutti::worker
