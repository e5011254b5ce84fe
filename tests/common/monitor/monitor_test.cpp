// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/monitor.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/monitor/history.h"
#include "common/monitor/http_client.h"
#include "tests/common/monitor/board_driver.h"
#include "tests/common/monitor/http_peer.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using monitor::Monitor;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using What = Happening::What;
namespace fs = std::filesystem;
namespace json = boost::json;

std::string text_of_file(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Watching : public ::testing::Test {
 protected:
  Watching()
      : folder_(::testing::TempDir() + "tutti-monitor-" + std::to_string(::getpid()) + "/20260331-142501-8c1f03") {
    fs::create_directories(folder_);
  }
  ~Watching() override {
    monitor_.reset();
    fs::remove_all(folder_.parent_path());
  }
  void start(bool can_save = true) {
    Monitor::Options options;
    options.facts = facts_of(2, 1);
    options.facts.can_save = can_save;
    options.folder = folder_;
    options.address = "127.0.0.1";
    options.host = "node1";
    options.ask = [this](Wish wish) -> Result<> {
      if (!refusal_.empty()) return fail(Errc::kUsage, refusal_);
      wishes_.push_back(wish);
      return {};
    };
    options.figures = [this] { return Coordinator::Figures{4, 5, {{worker_at(0), step_.load()}}}; };
    auto monitor = Monitor::start(std::move(options), clock_, Logger::none());
    ASSERT_TRUE(monitor) << monitor.error().text();
    monitor_ = std::move(*monitor);
  }
  json::object address() const { return json::parse(text_of_file(folder_ / monitor::kAddressFile)).as_object(); }
  std::string token() const { return std::string(address().at("token").as_string()); }
  std::uint16_t port() const {
    const std::string& url = monitor_->url();
    return static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  std::pair<std::string, std::string> ask(const std::string& method, const std::string& target,
                                          const std::string& token = "") {
    HttpPeer peer(port());
    peer.say(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
             (token.empty() ? "" : "Authorization: Bearer " + token + "\r\n") + "\r\n");
    auto [head, body] = peer.answer();
    return {head.substr(9, 3), body};
  }
  std::string get(const std::string& target) {
    const auto [status, body] = ask("GET", target);
    EXPECT_EQ(status, "200") << body;
    return body;
  }
  void end_run(int exit_code) {
    monitor_->happened({.what = What::kEnded, .generation = 1, .exit_code = exit_code, .text = "the run ended"});
  }

  const SteadyClock clock_;
  const fs::path folder_;
  std::vector<Wish> wishes_;  // the monitor's thread, while it answers
  std::string refusal_;
  std::atomic<std::uint64_t> step_ = 0;
  std::unique_ptr<Monitor> monitor_;
};

TEST_F(Watching, LeavesItsAddressForTheRunsOwnerWhileTheRunGoesOn) {
  start();
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / monitor::kAddressFile).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(address().at("url").as_string(), monitor_->url());
  EXPECT_EQ(token().size(), 64u);
  const std::string first = token();
  monitor_->close();
  EXPECT_FALSE(fs::exists(folder_ / monitor::kAddressFile));
  EXPECT_EQ(monitor::http_get(monitor_->url(), "/state.json", 5s).error().code, Errc::kUnavailable);
  monitor_.reset();
  start();
  EXPECT_NE(token(), first);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder_)) left.push_back(entry.path().filename());
  EXPECT_THAT(left, ::testing::UnorderedElementsAre("history.jsonl", "monitor.json"));
}

TEST_F(Watching, ServesPageStateAndMetrics) {
  start();
  step_ = 7;
  monitor_->happened({.what = What::kJoined, .member = worker_at(0), .host = "node1", .generation = 1});
  monitor_->heard(worker_at(0), Report());
  EXPECT_THAT(get("/"), StartsWith("<!DOCTYPE html>\n"));
  const auto state = monitor::parse_state(get("/state.json"), "");
  ASSERT_TRUE(state);
  EXPECT_EQ(state->at("members").at(0).at("host"), "node1");
  EXPECT_EQ(state->at("members").at(0).at("step"), 7) << "as the coordinator knows it";
  const std::string metrics = get("/metrics");
  EXPECT_THAT(metrics, HasSubstr("tutti_step{host=\"node1\",rank=\"0\",role=\"worker\"} 7\n"));
  EXPECT_THAT(metrics, HasSubstr("tutti_refused_frames_total{reason=\"handshake\"} 4\n"));
  EXPECT_THAT(metrics, HasSubstr("tutti_refused_frames_total{reason=\"stale_generation\"} 5\n"));
  for (const char* unknown :
       {"/favicon.ico", "/index.html", "//", "/state.json/", "/checkpoint", "/stop", "/monitor.json"})
    EXPECT_EQ(ask("GET", unknown).first, "404") << unknown;
  for (const char* unknown : {"/", "/state.json", "/events", "/log"})
    EXPECT_EQ(ask("POST", unknown, token()).first, "404") << unknown;
}

TEST_F(Watching, HandsOnWishesOfWhoHasTheToken) {
  start();
  for (const std::string& wrong :
       {std::string(), std::string("x"), token() + "0", std::string(64, '0'), token().substr(1)}) {
    for (const char* wish : {"/checkpoint", "/stop"}) {
      const auto [status, why] = ask("POST", wish, wrong);
      EXPECT_EQ(status, "401");
      EXPECT_THAT(why, HasSubstr(folder_.string() + "/monitor.json has it"));
      EXPECT_THAT(why, Not(HasSubstr(token())));
    }
  }
  EXPECT_THAT(wishes_, IsEmpty());
  EXPECT_EQ(ask("POST", "/checkpoint", token()).first, "202");
  EXPECT_EQ(ask("POST", "/stop", token()).first, "202");
  EXPECT_THAT(wishes_, ElementsAre(Wish::kCheckpoint, Wish::kStop));
  refusal_ = "the run is ending";
  const auto refused = ask("POST", "/stop", token());
  EXPECT_EQ(refused.first, "409");
  EXPECT_THAT(refused.second, HasSubstr("the run is ending\n"));
  EXPECT_THAT(get("/state.json"), Not(HasSubstr(token()))) << "it is told to nobody";
}

TEST_F(Watching, DoesNotAskForACheckpointThatHasNoFolder) {
  start(/*can_save=*/false);
  const auto [status, why] = ask("POST", "/checkpoint", token());
  EXPECT_EQ(status, "409");
  EXPECT_THAT(why, HasSubstr("checkpoint_dir"));
  EXPECT_THAT(wishes_, IsEmpty());
}

TEST_F(Watching, ShowsTheEndOfALogInWholeLines) {
  start();
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "line " + std::to_string(i) + "\n";
  std::ofstream(folder_ / "rank-1.log") << text;
  std::ofstream(folder_ / "shard-0.log") << "short";
  const std::string tail = get("/log?role=worker&rank=1");
  EXPECT_LE(tail.size(), 16u << 10);
  EXPECT_GT(tail.size(), 15u << 10);
  EXPECT_THAT(tail, AllOf(StartsWith("line "), EndsWith("\nline 4999\n")));
  EXPECT_THAT(text, EndsWith("\n" + tail));
  EXPECT_EQ(get("/log?role=server&rank=0"), "short");
  EXPECT_EQ(get("/log?rank=0&role=worker"), "") << "it has written nothing, or writes on another machine";
  std::ofstream(folder_ / "rank-0.log") << std::string(100'000, 'x');
  EXPECT_EQ(get("/log?role=worker&rank=0"), std::string(16 << 10, 'x')) << "a line that long is cut";
}

TEST_F(Watching, ShowsNoOtherFileWhateverIsAskedFor) {
  std::ofstream(folder_ / "config.toml") << "secret";
  std::ofstream(folder_.parent_path() / "rank-1.log") << "secret";
  std::ofstream(folder_ / "rank-7.log") << "secret";
  start();
  for (const char* query :
       {"role=worker&rank=../rank-1", "role=worker&rank=1/../../config.toml", "role=../worker&rank=1",
        "role=worker&rank=%2e%2e%2frank-1", "role=worker&rank=01", "role=worker&rank=+1", "role=worker&rank=-1",
        "role=worker&rank=7", "role=agent&rank=0", "role=worker&rank=", "role=&rank=1", "role=worker&rank=1%00"})
    EXPECT_EQ(ask("GET", std::string("/log?") + query).first, "404") << query;
  for (const char* query : {"", "?", "?role=worker", "?rank=1", "?role=worker;rank=1"})
    EXPECT_EQ(ask("GET", std::string("/log") + query).first, "400") << query;
}

TEST_F(Watching, StreamsStatesUntilTheRunHasEnded) {
  start();
  HttpPeer page(port());
  page.get("/events");
  (void)page.read_to("data: ");
  const auto whole = monitor::parse_state(page.read_to("\n\n"), "").value();
  EXPECT_TRUE(whole.contains("config"));
  monitor_->happened({.what = What::kNotice, .generation = 1, .text = "news"});
  std::string texts;
  while (texts.find("news") == std::string::npos) {
    (void)page.read_to("data: ");
    const std::string event = page.read_to("\n\n");
    ASSERT_FALSE(event.empty());
    const auto state = monitor::parse_state(event, "").value();
    for (const json::value& line : state.at("history").as_array())
      texts += std::string(line.at("text").as_string()) + "\n";
  }
  EXPECT_EQ(texts, "news\n") << "each line comes once";
  end_run(0);
  monitor_->close();
  const std::string rest = page.rest();
  const auto last = monitor::parse_state(rest.substr(rest.rfind("data: ") + 6), "");
  ASSERT_TRUE(last) << rest;
  EXPECT_EQ(last->at("phase"), "ended");
}

TEST_F(Watching, LeavesAHistoryWhoseLastStateIsTheEnd) {
  start();
  const auto at_start = monitor::read_history(folder_);
  ASSERT_TRUE(at_start) << at_start.error().text();
  EXPECT_EQ(at_start->at("phase"), "starting");
  EXPECT_EQ(at_start->at("config"), "workers = 2\n");
  monitor_->happened({.what = What::kNotice, .generation = 1, .text = "news"});
  end_run(70);
  monitor_->close();
  monitor_->close();
  const auto state = monitor::read_history(folder_);
  ASSERT_TRUE(state) << state.error().text();
  EXPECT_EQ(state->at("phase"), "ended");
  EXPECT_EQ(state->at("exit_code"), 70);
  ASSERT_EQ(state->at("history").as_array().size(), 2u);
  EXPECT_EQ(state->at("history").at(0).at("text"), "news");
  EXPECT_EQ(state->at("config"), "workers = 2\n");
  EXPECT_EQ(text_of_file(folder_ / monitor::kHistoryFile).back(), '\n');
}

TEST_F(Watching, WritesTheHistoryWhileTheRunGoesOn) {
  start();
  monitor_->happened({.what = What::kNotice, .generation = 1, .text = "news"});
  const auto give_up = std::chrono::steady_clock::now() + kHttpPatience;
  const auto is_there = [&] { return text_of_file(folder_ / monitor::kHistoryFile).find("news") != std::string::npos; };
  while (!is_there() && std::chrono::steady_clock::now() < give_up) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(is_there());
}

TEST_F(Watching, AFolderThatTakesNoFilesIsTold) {
  Monitor::Options options;
  options.facts = facts_of(1);
  options.folder = folder_ / "missing";
  options.address = "127.0.0.1";
  const auto monitor = Monitor::start(std::move(options), clock_, Logger::none());
  ASSERT_FALSE(monitor);
  EXPECT_THAT(monitor.error().text(), HasSubstr("missing/history.jsonl"));
}

}  // namespace
}  // namespace tutti::testing
