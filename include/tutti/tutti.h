// SPDX-License-Identifier: Apache-2.0
// All of tutti's public API but <tutti/mpi.h>.
#pragma once

#include "tutti/data_parallel.h"
#include "tutti/error.h"
#include "tutti/session.h"
#include "tutti/version.h"
