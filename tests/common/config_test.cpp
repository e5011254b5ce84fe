// SPDX-License-Identifier: Apache-2.0
#include "common/config.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <algorithm>

#include "common/config_keys.h"
#include "tests/common/temporary_folder.h"

namespace tutti {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Config : public ::testing::Test {
 protected:
  std::string file(const std::string& toml) { return folder_.write("run.toml", toml); }
  RunConfig loaded(const std::string& toml, const Environment& environment = {},
                   const std::vector<std::string>& overrides = {}) {
    const auto config = load_config(toml.empty() ? "" : file(toml), environment, overrides);
    EXPECT_TRUE(config) << config.error().text();
    return config ? *config : RunConfig{};
  }
  std::string refused(const std::string& toml, const Environment& environment = {},
                      const std::vector<std::string>& overrides = {}) {
    const auto config = load_config(toml.empty() ? "" : file(toml), environment, overrides);
    if (config) return "it was not refused";
    EXPECT_EQ(config.error().code, Errc::kConfig);
    return config.error().text();
  }
  testing::TemporaryFolder folder_;
};

TEST_F(Config, HasDefaults) {
  EXPECT_EQ(loaded(""), RunConfig{});
}

TEST_F(Config, ReadsEveryKindOfValueFromAFile) {
  const RunConfig config = loaded(
      "program = ['./train', '--rate', '0.1']\nworkers = 4\nplacement = 'spread'\nexchange = 'ps'\nhosts = ['node1', "
      "'node2:4']\n"
      "seed = 9\ntimeout_s = 2.5\nprogress_s = 3\ndeterministic = false\nports = '5000-5100'\n");
  EXPECT_THAT(config.program, ElementsAre("./train", "--rate", "0.1"));
  EXPECT_EQ(config.workers, 4);
  EXPECT_EQ(config.placement, "spread");
  EXPECT_EQ(config.exchange, "ps");
  EXPECT_THAT(config.hosts, ElementsAre("node1", "node2:4"));
  EXPECT_EQ(config.seed, 9u);
  EXPECT_EQ(config.timeout_s, 2.5);
  EXPECT_EQ(config.progress_s, 3);
  EXPECT_FALSE(config.deterministic);
  EXPECT_EQ(config.ports, "5000-5100");
}

TEST_F(Config, KnowsThreeWaysToTakeANan) {
  EXPECT_EQ(loaded("nan_policy = 'halt'\n").nan_policy, "halt");
  EXPECT_THAT(refused("nan_policy = 'hope'\n"), HasSubstr("expected skip, halt or ignore"));
  EXPECT_EQ(loaded("replica_check_every = 0\n").replica_check_every, 0);
  EXPECT_THAT(refused("replica_check_every = -1\n"), HasSubstr("replica_check_every"));
}

TEST_F(Config, KnowsTwoTransports) {
  EXPECT_EQ(loaded("transport = 'tcp'\nconnections = 4\n").transport, "tcp");
  EXPECT_THAT(refused("transport = 'rdma'\n"), HasSubstr("expected auto or tcp"));
  EXPECT_FALSE(load_config("", {}, {"connections=17"}));
}

TEST_F(Config, SplitsAProgramGivenAsOneString) {
  EXPECT_THAT(loaded("program = './train  --rate 0.1'").program, ElementsAre("./train", "--rate", "0.1"));
  EXPECT_THAT(loaded("", {}, {"hosts=node1,node2:4"}).hosts, ElementsAre("node1", "node2:4"));
}

TEST_F(Config, LetsTheEnvironmentOverrideTheFileAndArgumentsBoth) {
  const RunConfig config = loaded("workers = 2\nseed = 2\nthreads = 2",
                                  {{"TUTTI_SEED", "3"}, {"TUTTI_THREADS", "3"}, {"TUTT", "x"}, {"TUTTIX", "x"}},
                                  {"threads=4", "deterministic=false", "timeout_s=0.5"});
  EXPECT_EQ(config.workers, 2);
  EXPECT_EQ(config.seed, 3u);
  EXPECT_EQ(config.threads, 4);
  EXPECT_FALSE(config.deterministic);
  EXPECT_EQ(config.timeout_s, 0.5);
}

TEST_F(Config, LeavesReservedVariablesAlone) {
  const Environment reserved = {{"TUTTI_FD", "3"}, {"TUTTI_STATUS_FD", "4"}, {"TUTTI_CONFIG", "x"}, {"TUTTI_TTY", "1"}};
  EXPECT_EQ(loaded("", reserved), RunConfig{});
}

TEST_F(Config, NamesTheLineAndTheNearestKeyOfAnUnknownOne) {
  EXPECT_EQ(refused("seed = 1\n\nwokers = 2\n"),
            folder_.file("run.toml") + ":3: unknown key 'wokers'; did you mean 'workers'?");
  EXPECT_THAT(refused("[run]\nworkers = 2\n"), HasSubstr(":1: unknown key 'run'; known are program, workers"));
  EXPECT_THAT(refused("", {{"TUTTI_WORKER", "2"}}), HasSubstr("'TUTTI_WORKER'; did you mean 'TUTTI_WORKERS'?"));
  EXPECT_THAT(refused("", {}, {"sed=1"}), HasSubstr("the argument 'sed=1': unknown key 'sed'; did you mean 'seed'?"));
}

TEST_F(Config, NamesWhatWasExpectedAndFound) {
  EXPECT_THAT(refused("seed = 1\nworkers = 'many'"),
              HasSubstr("run.toml:2: workers: expected a whole number from 0 to 65536, or two of them such as \"2:8\", found "
                        "\"many\""));
  EXPECT_THAT(refused("workers = 1.5"), HasSubstr("found 1.5"));
  EXPECT_THAT(refused("workers = -1"), HasSubstr("found -1"));
  EXPECT_THAT(refused("seed = -1"), HasSubstr("expected a whole number from 0 up"));
  EXPECT_THAT(refused("timeout_s = nan"), HasSubstr("expected a number from 0.1 to 86400, found nan"));
  EXPECT_THAT(refused("deterministic = 1"), HasSubstr("expected true or false, found 1"));
  EXPECT_THAT(refused("checkpoint_keep = 0"), HasSubstr("expected a whole number from 1 to 1000000, found 0"));
  EXPECT_THAT(refused("log_dir = 3"), HasSubstr("expected a string, found 3"));
  EXPECT_THAT(refused("program = [1]"), HasSubstr("program: expected a value or a list of strings"));
  EXPECT_THAT(refused("[workers]\n"), HasSubstr("found a table"));
  EXPECT_THAT(refused("", {{"TUTTI_SEED", "1x"}}),
              HasSubstr("the environment variable TUTTI_SEED: seed: expected a whole number from 0 up, found \"1x\""));
  EXPECT_THAT(refused("", {}, {"deterministic=yes"}), HasSubstr("expected true or false, found \"yes\""));
  EXPECT_THAT(refused("", {}, {"workers"}), HasSubstr("the argument 'workers': expected key=value"));
}

TEST(ExchangeNames, TellTheStageWithinHostsFromTheOneBetweenThem) {
  EXPECT_TRUE(has_host_stage("shm+ps"));
  EXPECT_FALSE(has_host_stage("shm")) << "there is nothing between hosts";
  EXPECT_FALSE(has_host_stage("ps"));
  EXPECT_EQ(between_hosts("shm+gloo"), "gloo");
  EXPECT_EQ(between_hosts("gloo"), "gloo");
}

TEST_F(Config, RefusesNamesThatAreNotInItsLists) {
  EXPECT_THAT(refused("", {}, {"wire_dtype=int8"}), HasSubstr("expected float32, bfloat16 or float16, found \"int8\""));
  EXPECT_THAT(refused("", {}, {"exchange=ring"}), HasSubstr("nccl, shm+ps, shm+gloo or shm+mpi, found \"ring\""));
  EXPECT_THAT(refused("", {}, {"exchange=shm+nccl"}), HasSubstr("shm+mpi, found \"shm+nccl\""));
  EXPECT_THAT(refused("", {}, {"launcher=pbs"}), HasSubstr("expected auto, local, mpirun or slurm"));
  EXPECT_THAT(refused("", {}, {"placement=alone"}),
              HasSubstr("expected colocated, spread or dedicated, found \"alone\""));
  EXPECT_THAT(refused("", {}, {"ports=80-70"}), HasSubstr("expected 0, a port or a range"));
  EXPECT_THAT(refused("hosts = ['-oProxyCommand=x']"), HasSubstr("expected host names"));
  EXPECT_THAT(refused("hosts = ['a:']"), HasSubstr("found \"a:\""));
}

// Each slot becomes a place in a list: the first once took all memory, the last left a host without any.
TEST_F(Config, RefusesAHostWithMoreSlotsThanAnyHasOrWithNone) {
  for (const char* slots : {"4000000000", "99999999999999999999", "4097", "0"}) {
    EXPECT_THAT(refused("", {}, {std::string("hosts=a:") + slots}), HasSubstr(slots));
  }
  EXPECT_THAT(loaded("", {}, {"hosts=a:4096"}).hosts, ElementsAre("a:4096"));
}

// Arguments and variables are any bytes; printed, they once made a file that could not be read.
TEST_F(Config, RefusesTextThatItCouldNotReadBack) {
  EXPECT_THAT(refused("", {}, {"log_dir=caf\xe9"}), HasSubstr("log_dir: expected text in UTF-8"));
  EXPECT_THAT(refused("", {{"TUTTI_PROGRAM", "./train \xff"}}), HasSubstr("expected text in UTF-8"));
  EXPECT_EQ(loaded("", {}, {"log_dir=caf\xc3\xa9"}).log_dir, "caf\xc3\xa9");
}

TEST_F(Config, NamesTheLineOfAFileThatIsNotToml) {
  EXPECT_THAT(refused("seed = 1\nworkers =\n"), HasSubstr("run.toml:2: "));
  EXPECT_THAT(load_config(folder_.file("none.toml"), {}, {}).error().text(), HasSubstr("none.toml cannot be opened"));
}

// toml++ ended the process for it, where asserts are compiled.
TEST_F(Config, RefusesATableWhoseNameIsNone) {
  EXPECT_THAT(refused("seed = 1\n[(wa\n"), HasSubstr("run.toml:2: "));
}

// toml++ has undefined behaviour for it.
TEST_F(Config, TakesAnyCharacterInItsPlaceAndRefusesItElsewhere) {
  EXPECT_THAT(refused("seed = 1\nworker\xc5\xa0 = 4\n"), HasSubstr("run.toml:2: "));
  EXPECT_THAT(refused("'gr\xc3\xb6\xc3\x9f"
                      "e' = 4\n"),
              HasSubstr("unknown key 'gr\xc3\xb6\xc3\x9f"
                        "e'"));
  EXPECT_EQ(loaded("log_dir = '~caf\xc3\xa9'  # caf\xc3\xa9\n").log_dir, "~caf\xc3\xa9");
  EXPECT_THAT(loaded("program = ['\xc3\xa9', \"\"\"\\\n  \xc5\xa0\"\"\"]\n").program,
              ElementsAre("\xc3\xa9", "\xc5\xa0"));
  EXPECT_THAT(refused("log_dir = \"\\u007e41\""), HasSubstr("expected ~ as it is"));
}

TEST_F(Config, PrintsWhatItReadsBack) {
  RunConfig config;
  config.program = {"./train", "a \"quoted\" one", "back\\slash\ttab\n", "größer"};
  config.workers = 3;
  config.timeout_s = 0.1;
  config.progress_s = 1e-3;
  config.hosts = {"node1:2"};
  config.exchange = "nccl";
  config.wire_dtype = "bfloat16";
  config.keep_freed_memory = false;
  config.born_in_place = false;
  config.deterministic = false;
  config.checkpoint_dir = "runs/checkpoints";
  config.checkpoint_every = 50;
  config.checkpoint_keep = 2;
  config.tensorboard = "runs/tensorboard";
  config.tensorboard_histograms_every = 200;
  EXPECT_EQ(loaded(to_toml(config)), config);
  EXPECT_EQ(loaded(to_toml(RunConfig{})), RunConfig{});
}

TEST_F(Config, WorkersAreANumberOrARange) {
  RunConfig config = loaded("workers = '2:8'");
  EXPECT_EQ(config.worker_range, (WorkerRange{2, 8}));
  config.workers = 5;  // as a run resolves it
  EXPECT_THAT(to_toml(config), HasSubstr("workers = \"2:8\"\n")) << "what was asked for, not what is there now";
  EXPECT_EQ(loaded(to_toml(config)).worker_range, config.worker_range);
  const RunConfig fixed = loaded("workers = '2:8'", {}, {"workers=3"});
  EXPECT_EQ(fixed.workers, 3);
  EXPECT_TRUE(fixed.worker_range.is_fixed());
  for (const char* bad : {"0:4", "4:2", "2:", ":2", "2:99999", "2:4:8", "2-4"})
    EXPECT_THAT(refused("", {}, {std::string("workers=") + bad}), HasSubstr("such as \"2:8\", found")) << bad;
}

TEST_F(Config, ExplainsEveryKeyOnce) {
  const std::string help = config_help();
  for (const ConfigKey& key : config_keys()) {
    EXPECT_THAT(help, HasSubstr(std::string(key.name) + " "));
    EXPECT_THAT(help, HasSubstr(key.meaning));
  }
  EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(help, '\n')), config_keys().size());
}

TEST(Ports, AreOneOrARangeOrAny) {
  EXPECT_EQ(parse_ports("0").value().first, 0);
  EXPECT_EQ(parse_ports("5000").value().last, 5000);
  EXPECT_EQ(parse_ports("5000-65535").value().last, 65535);
  for (const char* bad : {"", "-", "5000-", "-5000", "0-5", "65536", "1-2-3", "x", " 1"})
    EXPECT_FALSE(parse_ports(bad)) << bad;
}

TEST(Environment, HoldsThisProcessVariables) {
  ASSERT_EQ(::setenv("A_VARIABLE_OF_THIS_TEST", "a=b", 1), 0);
  EXPECT_EQ(environment_snapshot().at("A_VARIABLE_OF_THIS_TEST"), "a=b");
}

TEST(Nearest, FindsTheNameThatWasMeant) {
  const std::vector<std::string> known = {"workers", "shards", "seed", "trace"};
  EXPECT_EQ(nearest("worker", known), "workers");
  EXPECT_EQ(nearest("wrokers", known), "workers");
  EXPECT_EQ(nearest("shard_s", known), "shards");
  EXPECT_EQ(nearest("seed", known), "seed");
  EXPECT_EQ(nearest("learning_rate", known), "");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace tutti
