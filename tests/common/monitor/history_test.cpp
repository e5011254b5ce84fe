// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/history.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "common/monitor/monitor.h"
#include "common/monitor/state_json.h"
#include "tests/common/monitor/board_driver.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
namespace json = boost::json;

class HistoryOfARun : public ::testing::Test {
 protected:
  HistoryOfARun() : folder_(::testing::TempDir() + "tutti-history-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
    run_.all_join();
  }
  ~HistoryOfARun() override { std::filesystem::remove_all(folder_); }

  /// As the monitor writes it.
  void write_state() {
    write(monitor::state_json(run_.board, std::exchange(written_, run_.board.newest()), run_.now()) + "\n");
  }
  void write(const std::string& text) { std::ofstream(path(), std::ios::app) << text; }
  std::string path() const { return folder_ + "/" + monitor::kHistoryFile; }
  void make_a_step(int step) {
    run_.passed += 1s;
    run_.of(worker_at(0)).values = {{"loss", step, 0, 1.0 / step}};
    run_.trains(worker_at(0), static_cast<std::uint64_t>(step) - 1, static_cast<std::uint64_t>(step));
  }

  const std::string folder_;
  BoardDriver run_{2};
  std::uint64_t written_ = 0;
};

TEST_F(HistoryOfARun, PutTogetherIsTheWholeStateOfItsEnd) {
  write_state();
  for (int step = 1; step <= 20; ++step) {
    make_a_step(step);
    if (step == 7) run_.is_lost(worker_at(1), "killed", 7);
    if (step == 8) run_.joins(worker_at(1), 2);
    if (step % 3 == 0) write_state();
  }
  run_.happens({.what = Happening::What::kEnded, .generation = 2, .text = "the run ended"});
  write_state();
  const auto read = monitor::read_history(folder_);
  ASSERT_TRUE(read) << read.error().text();
  const auto whole = monitor::parse_state(monitor::state_json(run_.board, 0, run_.now()), "").value();
  EXPECT_EQ(*read, whole);
}

TEST_F(HistoryOfARun, OfOneThatWasCutOffEndsBeforeTheTornLine) {
  make_a_step(1);
  write_state();
  make_a_step(2);
  const std::string next = monitor::state_json(run_.board, written_, run_.now());
  for (const std::size_t size : {std::size_t{1}, next.size() / 2, next.size() - 1}) {
    std::filesystem::remove(path());
    written_ = 0;
    BoardDriver another(1);
    write(monitor::state_json(another.board, 0, another.now()) + "\n");
    write(next.substr(0, size));
    const auto read = monitor::read_history(folder_);
    ASSERT_TRUE(read) << size << ": " << read.error().text();
    EXPECT_EQ(read->at("workers"), 1) << size;
  }
}

TEST_F(HistoryOfARun, BrokenWithinIsToldWithTheLine) {
  write_state();
  write("{\"half\": \n");
  write_state();
  const auto read = monitor::read_history(folder_);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::kBadData);
  EXPECT_THAT(read.error().text(), HasSubstr(path() + ":2 is not the state of a run"));
}

TEST_F(HistoryOfARun, WithALastLineThatIsWholeButNoStateIsBroken) {
  write_state();
  write("{}\n");
  EXPECT_THAT(monitor::read_history(folder_).error().text(), HasSubstr(path() + ":2 is not the state of a run"));
}

TEST_F(HistoryOfARun, ThatIsMissingOrEmptyIsToldSo) {
  EXPECT_THAT(monitor::read_history(folder_).error().text(), HasSubstr("expected the folder of a run"));
  write("");
  EXPECT_THAT(monitor::read_history(folder_).error().text(), EndsWith("is empty"));
  write("{\"torn");
  EXPECT_THAT(monitor::read_history(folder_).error().text(), HasSubstr(":1 is not the state of a run"));
}

TEST(ParseState, RefusesWhatIsNoStateAndNamesItsSource) {
  const std::string good =
      R"({"job":"a","phase":"ended","members":[{}],"curves":{"loss":[[1,2,3]]},"history":[],"progress":{}})";
  EXPECT_TRUE(monitor::parse_state(good, ""));
  const auto replaced = [&](const std::string& what, const std::string& by) {
    std::string text = good;
    return text.replace(text.find(what), what.size(), by);
  };
  for (const std::string& bad :
       {std::string("[]"), std::string("no json"), good + "}", replaced("[{}]", "[7]"), replaced("[[1,2,3]]", "7"),
        replaced("\"ended\"", "1"), replaced("\"history\":[]", "\"history\":{}"), replaced("\"job\"", "\"bob\"")}) {
    const auto state = monitor::parse_state(bad, "http://127.0.0.1:1/");
    ASSERT_FALSE(state) << bad;
    EXPECT_EQ(state.error().code, Errc::kBadData);
    EXPECT_THAT(state.error().text(), HasSubstr("http://127.0.0.1:1/ is not the state of a run"));
  }
}

}  // namespace
}  // namespace tutti::testing
