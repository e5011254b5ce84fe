// SPDX-License-Identifier: Apache-2.0
#include "worker/parameter_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tutti::worker {
namespace {

using ::testing::HasSubstr;

ParameterTable table() {
  ParameterTable table;
  table.facts = {{"seed", "0"}, {"threads", "1"}};
  table.parameters = {{"conv.weight", DType::kFloat32, {16, 1, 3, 3}, true},
                      {"fc.weight", DType::kFloat32, {10, 5}, true},
                      {"fc.bias", DType::kFloat32, {10}, true}};
  table.buffers = {{"bn.running_mean", DType::kFloat32, {16}, false}};
  return table;
}

std::string difference(const ParameterTable& ours) {
  return first_difference(ours, 2, table(), 0).value_or("");
}

TEST(ParameterTable, EqualTablesHaveNoDifference) {
  EXPECT_FALSE(first_difference(table(), 2, table(), 0));
}

TEST(ParameterTable, TellsAFactWithBothSides) {
  auto ours = table();
  ours.facts[1].second = "2";
  EXPECT_EQ(difference(ours), "threads is 1 on rank 0 and 2 on rank 2");
}

TEST(ParameterTable, TellsAMissingParameterFirstMiddleAndLast) {
  for (const std::size_t i : {0, 1, 2}) {
    auto ours = table();
    const std::string name = ours.parameters[i].name;
    ours.parameters.erase(ours.parameters.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_THAT(difference(ours), HasSubstr("parameter \"" + name + "\""));
    EXPECT_THAT(difference(ours), HasSubstr("of rank 0 is missing on rank 2"));
  }
}

TEST(ParameterTable, TellsAnExtraParameter) {
  auto ours = table();
  ours.parameters.insert(ours.parameters.begin() + 1, {"fc.extra", DType::kFloat32, {3}, true});
  EXPECT_EQ(difference(ours), "parameter \"fc.extra\" (F32 [3]) of rank 2 is missing on rank 0");
}

TEST(ParameterTable, TellsARenamedParameter) {
  auto ours = table();
  ours.parameters[1].name = "linear.weight";
  EXPECT_THAT(difference(ours), HasSubstr("parameter 1 is \"fc.weight\""));
  EXPECT_THAT(difference(ours), HasSubstr("\"linear.weight\""));
}

TEST(ParameterTable, TellsAnotherOrder) {
  auto ours = table();
  std::swap(ours.parameters[0], ours.parameters[1]);
  EXPECT_THAT(difference(ours), HasSubstr("the same names in another order"));
}

TEST(ParameterTable, TellsDtypeShapeAndFreezing) {
  auto ours = table();
  ours.parameters[1].dtype = DType::kFloat64;
  EXPECT_EQ(difference(ours), "parameter \"fc.weight\" is F32 [10, 5] on rank 0 and F64 [10, 5] on rank 2");
  ours = table();
  ours.parameters[2].shape = {11};
  EXPECT_EQ(difference(ours), "parameter \"fc.bias\" is F32 [10] on rank 0 and F32 [11] on rank 2");
  ours = table();
  ours.parameters[2].trained = false;
  EXPECT_THAT(difference(ours), HasSubstr("frozen"));
}

TEST(ParameterTable, TellsABuffer) {
  auto ours = table();
  ours.buffers.clear();
  EXPECT_THAT(difference(ours), HasSubstr("buffer \"bn.running_mean\""));
}

}  // namespace
}  // namespace tutti::worker
