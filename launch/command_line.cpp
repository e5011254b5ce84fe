// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>

#include "common/config_keys.h"
#include "launch/commands.h"

namespace tutti::launch {
namespace {

std::string dashed(std::string_view name) {
  std::string option(name);
  std::replace(option.begin(), option.end(), '_', '-');
  return option;
}

/// What stands before "--" is tutti's, what follows is the program and its own arguments.
struct SplitLine {
  std::vector<std::string> own, program;
};
SplitLine split(const std::vector<std::string>& arguments) {
  const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
  SplitLine line{{arguments.begin(), dashes}, {}};
  if (dashes != arguments.end()) line.program.assign(dashes + 1, arguments.end());
  return line;
}

/// `--workers 4` is `workers=4`; the values are checked where those of files and variables are.
void add_key_options(CLI::App& run, std::vector<std::string>& overrides) {
  for (const ConfigKey& key : config_keys()) {
    if (key.name == "program") continue;  // stands after --
    const std::string name(key.name);
    const std::string option = "--" + dashed(name) + (dashed(name) == name ? "" : ",--" + name);
    run.add_option_function<std::string>(
           option, [&overrides, name](const std::string& value) { overrides.push_back(name + "=" + value); },
           std::string(key.meaning))
        ->type_name("VALUE");
  }
}

void add_bench(CLI::App& app, BenchCommand& command) {
  CLI::App* bench = app.add_subcommand(
      "bench", "Measure this machine or cluster: tutti bench allreduce|pushpull|step|guards|watching");
  bench::add_options(*bench, command.options);
  bench->add_option("--ranks", command.ranks, "0: as many as hosts or mpirun give, else 2")
      ->check(CLI::Range(0, 65536))
      ->capture_default_str();
  bench->add_option("--shards", command.shards, "parameter servers; -1: one for each host if the exchange is ps")
      ->check(CLI::Range(-1, 65536))
      ->capture_default_str();
  bench->add_option("--exchange", command.exchange, "as a run's exchange; mpi starts the ranks through mpirun");
  bench->add_option("settings", command.overrides, "key=value of the run: hosts=node1:4,node2:4")
      ->type_name("KEY=VALUE")
      ->check([](const std::string& word) {
        return word.find('=') != std::string::npos ? "" : "found '" + word + "'; expected key=value";
      });
}

void add_checkpoint(CLI::App& app, CheckpointCommand& command) {
  CLI::App* checkpoint =
      app.add_subcommand("checkpoint", "Look at checkpoints: tutti checkpoint list|verify|show PATH");
  checkpoint->require_subcommand(1);
  const auto add = [&](const char* name, CheckpointAction action, const char* meaning, const char* path) {
    CLI::App* sub = checkpoint->add_subcommand(name, meaning);
    sub->add_option("path", command.path)->required()->type_name(path);
    sub->callback([&command, action] { command.action = action; });
  };
  add("list", CheckpointAction::kList, "The checkpoints in a folder, the newest first", "FOLDER");
  add("verify", CheckpointAction::kVerify, "Read every byte; 65 when one is torn", "FOLDER|CHECKPOINT");
  add("show", CheckpointAction::kShow, "Manifest and tensors of one", "CHECKPOINT");
}

void add_explain(CLI::App& app, ExplainCommand& command) {
  CLI::App* explain = app.add_subcommand("explain", "Show the recordings of a run side by side: who stopped first");
  explain->add_option("folder", command.folder, "of the recordings, or of the run")->required();
  explain->add_option("--events", command.events, "how many of the last to show")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
}

void add_trace(CLI::App& app, TraceCommand& command) {
  CLI::App* trace = app.add_subcommand("trace", "Make the trace of a run whose machine went down, or that goes on");
  trace->add_option("folder", command.folder, "of the trace's parts: run.json.parts")->required();
  trace->add_option("trace", command.trace, "the file; left out: run.json");
}

void add_resize(CLI::App& app, ResizeCommand& command) {
  CLI::App* resize =
      app.add_subcommand("resize", "Have an elastic run (workers=2:8) go on with another number of workers");
  resize->add_option("folder", command.folder, "of the run, as it told it")->required();
  resize->add_option("workers", command.workers)->required()->check(CLI::PositiveNumber);
}

void add_status(CLI::App& app, StatusCommand& command) {
  CLI::App* status = app.add_subcommand("status", "Show how a run is, or how one that is over was");
  status->add_option("job", command.job, "A run's folder, its name, or the address of its page; else the newest");
  status->add_option("--log-dir,--log_dir", command.log_dir, "where runs make their folders")->capture_default_str();
  status->add_flag("--watch", command.watch, "again and again until the run ends");
}

void add_report(CLI::App& app, ReportCommand& command) {
  CLI::App* report = app.add_subcommand("report", "Make an HTML file of a run, or of two side by side");
  report->add_option("folders", command.folders, "of the runs")->required()->expected(1, 2);
  report->add_option("-o,--out", command.out, "the file; else report.html in the first folder");
}

/// The words that are no option: a file, key=value.
Result<> take_words(const std::vector<std::string>& words, RunRequest& request) {
  for (const std::string& word : words) {
    if (word.find('=') != std::string::npos) {
      request.overrides.push_back(word);
    } else if (request.file.empty()) {
      request.file = word;
    } else {
      return fail(Errc::kUsage, "found '" + word + "' after the file " + request.file +
                                    "; expected key=value, an option, or -- before the program");
    }
  }
  return {};
}

}  // namespace

Result<Command> parse_command(const std::vector<std::string>& arguments) {
  CLI::App app("Data-parallel training for LibTorch programs", "tutti");
  app.set_version_flag("--version", "tutti " TUTTI_VERSION);
  app.require_subcommand(1);

  RunCommand run;
  std::vector<std::string> words;
  CLI::App* run_app =
      app.add_subcommand("run", "Train: tutti run [config.toml] [key=value ...] [-- program arguments ...]");
  run_app->add_option("words", words, "A configuration file, key=value")->type_name("");
  run_app->add_flag("--dry-run", run.dry_run, "Print what would be run, and start nothing");
  add_key_options(*run_app, run.request.overrides);
  BenchCommand bench;
  add_bench(app, bench);
  CheckpointCommand checkpoint;
  add_checkpoint(app, checkpoint);
  ResizeCommand resize;
  add_resize(app, resize);
  ExplainCommand explain;
  add_explain(app, explain);
  StatusCommand status;
  add_status(app, status);
  ReportCommand report;
  add_report(app, report);
  TraceCommand trace;
  add_trace(app, trace);
  app.add_subcommand("server", "One shard; started by an agent");
  app.add_subcommand("doctor", "What of the machine tutti can use");
  std::string topic;
  app.add_subcommand("help", "tutti help config: every key of the configuration")
      ->add_option("topic", topic)
      ->required()
      ->check(CLI::IsMember({"config"}));

  SplitLine line = split(arguments);
  std::reverse(line.own.begin(), line.own.end());  // as CLI11 takes them
  try {
    app.parse(line.own);
  } catch (const CLI::CallForVersion&) {
    return Command(PrintCommand{"tutti " TUTTI_VERSION "\n"});
  } catch (const CLI::CallForHelp&) {
    return Command(PrintCommand{app.help()});
  } catch (const CLI::ParseError& error) {
    return fail(Errc::kUsage, std::string(error.what()) + "; see tutti --help");
  }
  if (app.got_subcommand("help")) return Command(PrintCommand{config_help()});
  if (app.got_subcommand("server")) return Command(ServerCommand{});
  if (app.got_subcommand("resize")) return Command(std::move(resize));
  if (app.got_subcommand("explain")) return Command(std::move(explain));
  if (app.got_subcommand("status")) return Command(std::move(status));
  if (app.got_subcommand("report")) return Command(std::move(report));
  if (app.got_subcommand("trace")) return Command(std::move(trace));
  if (app.got_subcommand("doctor")) return Command(DoctorCommand{});
  if (app.got_subcommand("checkpoint")) return Command(std::move(checkpoint));
  if (app.got_subcommand("bench")) {
    TUTTI_TRY(bench::complete(bench.options));
    return Command(std::move(bench));
  }
  TUTTI_TRY(take_words(words, run.request));
  run.request.program = std::move(line.program);
  return Command(std::move(run));
}

}  // namespace tutti::launch
