// SPDX-License-Identifier: Apache-2.0
// The report as a page, and which run `tutti status` finds.
#include "launch/report_command.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "launch/status_command.h"

namespace tutti::launch {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class ReportedRuns : public ::testing::Test {
 protected:
  ReportedRuns() : folder_(::testing::TempDir() + "tutti-report-" + std::to_string(::getpid())) {
    fs::create_directories(folder_);
  }
  ~ReportedRuns() override { fs::remove_all(folder_); }

  std::string run(const std::string& name, const std::string& curve = "loss") {
    fs::create_directories(folder_ / name);
    const boost::json::object state{{"job", name},
                                    {"phase", "ended"},
                                    {"members", boost::json::array{}},
                                    {"curves", {{curve, {{1, 2, 3}}}}},
                                    {"history", boost::json::array{}},
                                    {"progress", boost::json::object{}}};
    std::ofstream(folder_ / name / "history.jsonl") << boost::json::serialize(state) << "\n";
    return folder_ / name;
  }
  /// The JSON that stands in the page.
  static boost::json::value data_in(const std::string& page) {
    constexpr std::string_view kBegin = "<script type=\"application/json\" id=\"runs\">";
    const std::size_t begin = page.find(kBegin) + kBegin.size();
    return boost::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  }

  const fs::path folder_;
};

TEST_F(ReportedRuns, StandInThePageAsTheyAreWhateverTheirNames) {
  const std::string hostile = "</script><script>alert(1)</script><!-- \xe2\x80\xa8 /*{runs}*/";
  const std::string plain_page = report_page({run("a")}).value(), page = report_page({run("b", hostile)}).value();
  for (const char* tag : {"<", "</script", "<script", "<!--"}) {
    const auto tags_in = [&](std::string_view text) {
      std::size_t count = 0;
      for (std::size_t at = text.find(tag); at != text.npos; at = text.find(tag, at + 1)) ++count;
      return count;
    };
    EXPECT_EQ(tags_in(page), tags_in(plain_page)) << tag << ": none of its own";
  }
  const boost::json::value data = data_in(page);
  EXPECT_EQ(data.at(0).at("name"), "b");
  EXPECT_TRUE(data.at(0).at("states").at(0).at("curves").as_object().contains(hostile));
}

TEST_F(ReportedRuns, StandSideBySideUnderTheNamesOfTheirFolders) {
  run("a");
  const boost::json::value data = data_in(report_page({run("b") + "/", (folder_ / "b/../a").string()}).value());
  ASSERT_EQ(data.as_array().size(), 2u);
  EXPECT_EQ(data.at(0).at("name"), "b");
  EXPECT_EQ(data.at(1).at("name"), "a");
}

TEST_F(ReportedRuns, WithoutAHistoryAreRefused) {
  const auto page = report_page({run("a"), folder_ / "missing"});
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, Errc::kBadData);
  EXPECT_THAT(page.error().text(), HasSubstr("missing/history.jsonl"));
}

TEST_F(ReportedRuns, AreFoundByTheirFolderTheirNameOrAsTheNewest) {
  const std::string older = run("older"), newer = run("newer");
  fs::create_directories(folder_ / "no-run");
  fs::last_write_time(fs::path(older) / "history.jsonl", fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(find_run("", folder_).value(), newer);
  EXPECT_EQ(find_run("older", folder_).value(), older);
  EXPECT_EQ(find_run(older, "elsewhere").value(), older);
  for (const char* missing : {"no-run", "other"}) {
    const auto found = find_run(missing, folder_);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Errc::kUsage);
  }
  EXPECT_THAT(find_run("", folder_ / "no-run").error().text(), HasSubstr("there is no run in "));
}

}  // namespace
}  // namespace tutti::launch
