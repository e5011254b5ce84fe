// SPDX-License-Identifier: Apache-2.0
// What agent 0 decides for a run and tells the others before anything is started.
// Thread safety: a value.
#pragma once

#include <cereal/cereal.hpp>
#include <string>

#include "common/net/connection.h"
#include "common/net/handshake_fsm.h"
#include "common/result.h"
#include "common/secret.h"

namespace tutti::launch {

struct RunCard {
  JobId job{};
  Digest secret{};  ///< zero where every agent reads secret_file itself
  std::string coordinator_host;
  std::uint16_t coordinator_port = 0;
  std::string folder;  ///< of logs and the saved configuration

  std::string recordings() const { return folder + "/recordings"; }
  Endpoint coordinator() const { return {coordinator_host, coordinator_port}; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::binary_data(job.data(), job.size()), cereal::binary_data(secret.data(), secret.size()),
            coordinator_host, coordinator_port, folder);
  }
};

}  // namespace tutti::launch
