// SPDX-License-Identifier: Apache-2.0
// Whether an MPI launcher started this process; known without MPI itself.
// Thread safety: a pure function.
#pragma once

#include "common/config.h"

namespace tutti {

/// SLURM_* alone means nothing: every process of a batch job has those.
inline bool is_mpi_rank(const Environment& environment) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (environment.contains(name)) return true;
  }
  return false;
}

}  // namespace tutti
