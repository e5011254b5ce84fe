#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up what tests/run.sh left behind: steps.tsv (name, seconds, exit status) and one JUnit file for each run of ctest.

    summarize.py FOLDER [--markdown FILE]
"""
import argparse
import collections
import datetime
import os
import pathlib
import platform
import sys
import xml.etree.ElementTree

SECONDS_MAX = 28 * 60
Step = collections.namedtuple("Step", "name seconds status")
Case = collections.namedtuple("Case", "suite name outcome seconds")


def read_steps(folder):
    lines = (folder / "steps.tsv").read_text().splitlines()
    return [Step(name, int(seconds), int(status)) for name, seconds, status in (line.split("\t") for line in lines)]


def outcome_of(case):
    """A test that ctest could not start (no executable, a file or fixture missing) has failed; it was not skipped."""
    skipped = case.find("skipped")
    if case.get("status") == "run":
        return "passed"
    if case.get("status") == "disabled" or (skipped is not None and skipped.get("message", "").startswith("SKIP_")):
        return "skipped"
    return "failed"


def read_cases(folder):
    cases = []
    for path in sorted(folder.glob("*.xml")):
        try:
            root = xml.etree.ElementTree.parse(path).getroot()
        except xml.etree.ElementTree.ParseError as error:
            cases.append(Case(path.stem, f"the report {path} cannot be read: {error}", "failed", 0.0))
            continue
        for case in root.iter("testcase"):
            cases.append(Case(path.stem, case.get("name"), outcome_of(case), float(case.get("time") or 0)))
    return cases


def failed_steps(steps, cases):
    """Steps that failed for another reason than the tests in them, as cases of their own."""
    explained = {"test " + case.suite for case in cases if case.outcome == "failed"}
    return [Case("run.sh", step.name, "failed", 0.0) for step in steps
            if step.status != 0 and step.name not in explained]


def tally(cases):
    count = collections.Counter(case.outcome for case in cases)
    line = f"{count['passed']} passed, {count['failed']} failed"
    return line + (f", {count['skipped']} skipped" if count["skipped"] else "")


def report(steps, cases):
    lines = ["", "Slowest parts:"]
    lines += [f"  {step.seconds:5d} s  {step.name}" for step in sorted(steps, key=lambda step: -step.seconds)[:8]]
    lines += ["Slowest tests:"]
    lines += [f"  {case.seconds:5.1f} s  {case.suite}: {case.name}"
              for case in sorted(cases, key=lambda case: -case.seconds)[:5]]
    for outcome in ("skipped", "failed"):
        names = [f"  {case.suite}: {case.name}" for case in cases if case.outcome == outcome]
        lines += [f"{outcome.capitalize()}:"] + names if names else []
    seconds = sum(step.seconds for step in steps)
    lines += [f"{seconds // 60} min {seconds % 60} s in all"]
    if seconds > SECONDS_MAX:
        lines += [f"TOO SLOW: this took more than {SECONDS_MAX // 60} minutes"]
    return lines


def markdown(steps, cases):
    suites = sorted({case.suite for case in cases})
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    lines = [f"# Test results of {datetime.date.today()}", "", machine, "", "| suite | result |", "|---|---|"]
    lines += [f"| {suite} | {tally([case for case in cases if case.suite == suite])} |" for suite in suites]
    return "\n".join(lines + ["", "```"] + report(steps, cases)[1:] + ["```", "", tally(cases), ""])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    arguments = parser.parse_args()

    steps, cases = read_steps(arguments.folder), read_cases(arguments.folder)
    cases += failed_steps(steps, cases)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(markdown(steps, cases))
    print("\n".join(report(steps, cases)))
    print(tally(cases))
    outcomes = {case.outcome for case in cases}
    return 0 if "passed" in outcomes and "failed" not in outcomes else 1


if __name__ == "__main__":
    sys.exit(main())
