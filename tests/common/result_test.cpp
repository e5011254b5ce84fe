// SPDX-License-Identifier: Apache-2.0
#include "common/result.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "common/assert.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;

TEST(Failure, TellsTheOuterMessageFirstAndThenItsCauses) {
  Failure failure = fail(Errc::kIo, "disk full").wrap("writing a tensor failed").wrap("the checkpoint was not written");
  EXPECT_EQ(failure.text(), "the checkpoint was not written: writing a tensor failed: disk full");
  EXPECT_EQ(failure.code, Errc::kIo);
}

TEST(Failure, CarriesTheSystemsText) {
  EXPECT_EQ(fail_errno("opening x failed", ENOENT).text(), "opening x failed: No such file or directory");
  EXPECT_EQ(fail_errno("binding failed", EADDRINUSE, Errc::kUnavailable).code, Errc::kUnavailable);
}

template <class Exception>
void expect_raised(Errc code, int exit_code) {
  try {
    raise(fail(code, "inner").wrap("outer"));
  } catch (const Exception& error) {
    EXPECT_STREQ(error.what(), "outer: inner");
    EXPECT_EQ(error.errc(), code);
    EXPECT_EQ(error.code(), make_error_code(code));
    EXPECT_EQ(error.exit_code(), exit_code);
  }
}

TEST(Raise, ThrowsTheExceptionOfTheFailuresKind) {
  expect_raised<Timeout>(Errc::kTimeout, 69);
  expect_raised<PeerLost>(Errc::kPeerLost, 69);
  expect_raised<ProtocolError>(Errc::kProtocol, 69);
  expect_raised<AuthenticationError>(Errc::kAuthentication, 77);
  expect_raised<MismatchError>(Errc::kMismatch, 78);
  expect_raised<IoError>(Errc::kIo, 74);
  expect_raised<CollectiveError>(Errc::kCollective, 69);
  expect_raised<DataError>(Errc::kBadData, 65);
  expect_raised<ConfigError>(Errc::kConfig, 64);
  expect_raised<UsageError>(Errc::kUsage, 64);
  expect_raised<Error>(Errc::kUnavailable, 69);
  expect_raised<Error>(Errc::kInternal, 70);
}

TEST(Result, RaisesWhenAFailureIsReadAsAValue) {
  const Result<int> result = fail(Errc::kTimeout, "nobody came");
  EXPECT_THROW((void)result.value(), Timeout);
}

Result<int> doubled(Result<int> input) {
  TUTTI_TRY(input);
  return 2 * *input;
}

TEST(Result, LeavesAFunctionWithTheFirstFailure) {
  EXPECT_EQ(doubled(21).value(), 42);
  EXPECT_EQ(doubled(fail(Errc::kIo, "no")).error().message, "no");
}

TEST(ErrorCode, ComparesWithItsEnumerator) {
  const std::error_code code = Errc::kPeerLost;
  EXPECT_EQ(code, Errc::kPeerLost);
  EXPECT_STREQ(code.category().name(), "tutti");
  EXPECT_THAT(code.message(), HasSubstr("lost"));
}

TEST(AssertDeathTest, EndsTheProcessWithConditionAndReason) {
  EXPECT_DEATH(TUTTI_ASSERT(1 == 2, "numbers are what they are"), "result_test.cpp.*numbers are what they are.*1 == 2");
}

}  // namespace
}  // namespace tutti
