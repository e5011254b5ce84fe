// SPDX-License-Identifier: Apache-2.0
// The page of a run that a test has started: where it is, and what it answers.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "common/monitor/history.h"
#include "common/monitor/http_client.h"
#include "common/monitor/monitor.h"
#include "tests/common/monitor/http_peer.h"
#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {

/// The one folder of a run under `run`'s; empty where there is none.
inline std::string job_folder(const RunTutti& run) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(run.folder() + "/runs", ignored)) {
    if (entry.is_directory()) return entry.path().string();
  }
  return "";
}

/// As the run's folder has it.
struct PageAddress {
  explicit PageAddress(const RunTutti& run) {
    const std::string path = job_folder(run) + "/" + monitor::kAddressFile;
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    boost::system::error_code error;
    const boost::json::value value = boost::json::parse(text, error);
    EXPECT_FALSE(error) << path << ": " << text;
    if (error) return;
    url = value.at("url").as_string();
    token = value.at("token").as_string();
    port = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  std::string url, token;
  std::uint16_t port = 0;
};

/// The status of the answer and its body.
inline std::pair<std::string, std::string> post(const PageAddress& page, const std::string& path) {
  HttpPeer peer(page.port);
  peer.say("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " + page.token +
           "\r\n\r\n");
  auto [head, body] = peer.answer();
  return {head.substr(0, head.find('\r')), body};
}

/// What `tutti status` or `tutti report` prints.
inline std::string output_of(const Strings& arguments, int expected_code = 0) {
  RunTutti command({.arguments = arguments});
  EXPECT_EQ(command.wait(kPatience), expected_code) << command.out() << command.err();
  return command.out() + command.err();
}

}  // namespace tutti::testing
