// SPDX-License-Identifier: Apache-2.0
#include "launch/launcher.h"

#include <gmock/gmock.h>

namespace tutti::launch {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> kSelf = {"/opt/tutti/bin/tutti", "run", "--", "./train", "it's"};

LaunchSite site_with_mpirun() {
  return {{}, "/usr/bin/mpirun", "", false};
}

RunConfig launched_by(const std::string& launcher) {
  RunConfig config;
  config.launcher = launcher;
  return config;
}

TEST(Launcher, AutoTakesMpirunAndWithoutItThisProcess) {
  EXPECT_EQ(choose_launch(RunConfig{}, site_with_mpirun()).value(), Launch::kMpirun);
  EXPECT_EQ(choose_launch(RunConfig{}, LaunchSite{}).value(), Launch::kLocal);
}

TEST(Launcher, AutoTakesASlurmAllocationFirst) {
  LaunchSite site = site_with_mpirun();
  site.srun = "/usr/bin/srun";
  site.environment = {{"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "0"}};
  EXPECT_EQ(choose_launch(RunConfig{}, site).value(), Launch::kSrun);
  site.srun.clear();
  EXPECT_EQ(choose_launch(RunConfig{}, site).value(), Launch::kMpirun);
}

TEST(Launcher, AnMpiRankIsAnAgentWhateverTheLauncherSays) {
  LaunchSite site = site_with_mpirun();
  site.environment = {{"OMPI_COMM_WORLD_SIZE", "2"}};
  EXPECT_EQ(choose_launch(launched_by("local"), site).value(), Launch::kMpiAgent);
}

TEST(Launcher, ATaskOfASlurmStepIsAnAgentAndABatchScriptIsNot) {
  LaunchSite site = site_with_mpirun();
  site.srun = "/usr/bin/srun";
  site.environment = {{"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_STEP_ID", "0"}};
  EXPECT_EQ(choose_launch(RunConfig{}, site).value(), Launch::kSlurmAgent);
  EXPECT_EQ(choose_launch(launched_by("local"), site).value(), Launch::kLocal);
  site.environment["SLURM_STEP_ID"] = "4294967290";  // an interactive allocation
  EXPECT_EQ(choose_launch(RunConfig{}, site).value(), Launch::kSrun);
}

TEST(Launcher, WhatWasAskedForAndIsNotThereIsSaid) {
  for (const char* launcher : {"mpirun", "slurm"}) {
    const auto launch = choose_launch(launched_by(launcher), LaunchSite{});
    ASSERT_FALSE(launch) << launcher;
    EXPECT_EQ(launch.error().code, Errc::kUnavailable);
    EXPECT_THAT(launch.error().text(), HasSubstr(launcher));
  }
  RunConfig remote;
  remote.hosts = {"node1"};
  EXPECT_FALSE(choose_launch(remote, LaunchSite{})) << "nobody would start anything on node1";
}

TEST(Launcher, MpirunStartsOneAgentForEachWorkerOnLoopback) {
  RunConfig config;
  config.workers = 4;
  EXPECT_EQ(mpirun_line(config, site_with_mpirun(), kSelf).text(),
            "OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo /usr/bin/mpirun -np 4 "
            "--bind-to none --oversubscribe --quiet /opt/tutti/bin/tutti run -- ./train 'it'\\''s'");
}

TEST(Launcher, MpirunGoesToTheHostsOverTheConfiguredInterface) {
  RunConfig config;
  config.hosts = {"node1", "node2:4"};
  config.interface = "eth0";
  const std::string line = mpirun_line(config, site_with_mpirun(), kSelf).text();
  EXPECT_THAT(line, HasSubstr("-np 5 "));
  EXPECT_THAT(line, HasSubstr("--host node1,node2:4 "));
  EXPECT_THAT(line, ::testing::Not(HasSubstr("--quiet"))) << "who cannot reach a host says so";
  EXPECT_THAT(line, HasSubstr("OMPI_MCA_oob_tcp_if_include=eth0 "));
}

TEST(Launcher, AnAddressIsNoInterfacesNameOnOtherHosts) {
  RunConfig config;
  config.hosts = {"node1", "node2"};
  config.interface = "10.0.0.7";
  EXPECT_THAT(mpirun_line(config, site_with_mpirun(), kSelf).text(), ::testing::Not(HasSubstr("if_include")));
}

TEST(Launcher, RootIsAllowedOnlyWhereItRunsAsRootAndAUsersSettingsStay) {
  LaunchSite site = site_with_mpirun();
  EXPECT_FALSE(mpirun_line(RunConfig{}, site, kSelf).added.contains("OMPI_ALLOW_RUN_AS_ROOT"));
  site.root = true;
  site.environment = {{"OMPI_MCA_btl", "self,tcp,uct"}};
  const auto line = mpirun_line(RunConfig{}, site, kSelf);
  EXPECT_TRUE(line.added.contains("OMPI_ALLOW_RUN_AS_ROOT"));
  EXPECT_FALSE(line.added.contains("OMPI_MCA_btl"));
}

TEST(Launcher, SrunStartsTheTasksOfTheAllocationOrOneForEachWorker) {
  LaunchSite site;
  site.srun = "/usr/bin/srun";
  EXPECT_THAT(srun_line(RunConfig{}, site, kSelf).text(),
              HasSubstr("srun --mpi=pmix --cpu-bind=none /opt/tutti/bin/tutti run"));
  RunConfig config;
  config.workers = 3;
  EXPECT_THAT(srun_line(config, site, kSelf).text(), HasSubstr("--ntasks=3 "));
  config.placement = "dedicated";
  EXPECT_THAT(srun_line(config, site, kSelf).text(), Not(HasSubstr("--ntasks")));
}

TEST(Launcher, StartsAgentsOnHostsThatOnlyShardsGoTo) {
  RunConfig config;
  config.workers = 2;
  config.hosts = {"a", "b:2", "c"};
  EXPECT_EQ(agents_for(config), 2);
  config.placement = "spread";
  EXPECT_EQ(agents_for(config), 4);
  config.placement = "dedicated";
  EXPECT_EQ(agents_for(config), 4);
  config.hosts.clear();
  EXPECT_EQ(agents_for(config), 2);
}

TEST(Launcher, AProgramThatCannotBeBecomeIsNamed) {
  const Failure failure = exec_line({{"/nowhere/mpirun"}, {}}, {});
  EXPECT_THAT(failure.text(), HasSubstr("/nowhere/mpirun"));
}

}  // namespace
}  // namespace tutti::launch
