# SPDX-License-Identifier: Apache-2.0
"""The table of faults: which tests show which row, runs them and prints what they measured.

D: seconds until a loss was known; R: seconds from the fault to the next committed step; L: committed steps that were
made again; each the worst of the row. SHA: whether the final parameters were those of an undisturbed run. What a row's
tests print as "measured row=N key=value..." is the source of it; a row that no run is measured for shows its tests alone.
A row that misses its target says in what. The tests themselves assert L and SHA; D and R are only shown, since they are
the machine's, too.
"""

import os
import re
import subprocess
import sys

BIN = "build/release/bin"

# row -> (the fault, the target, the tests: program and filter)
ROWS = {
    "1": ("SIGKILL of a worker at any byte of a push (`ps`)", "D 0.3, R 5, L 0, SHA",
          [("chaos_test", "WorkerOverTheWire.KilledWithinAPush*"), ("chaos_long_test", "WorkerOverTheWireLong.*")]),
    "2": ("SIGKILL of a worker when shard 0 has its push and shard 1 has not", "L 0, SHA",
          [("chaos_test", "WorkerOverTheWire.KilledBetweenTheShards*")]),
    "3": ("SIGKILL of a worker inside the all-reduce (`shm`, `shm+ps`, `gloo`)", "D 0.3, R 5, L 0, SHA",
          [("chaos_test", "KilledWorker.AtEveryPlace*"), ("chaos_test", "Replacement.TwoRanks*:Replacement.Adams*"),
           ("chaos_test", "TwoStages.*Rank*"), ("chaos_test", "KilledInAnEngine.*")]),
    "4": ("SIGKILL of a shard (`ps`)", "R 4, L 0, SHA", [("chaos_test", "Shard.*:TwoStages.Shard*")]),
    "5": ("SIGKILL of a shard and of every worker", "R 10, L 50, SHA; 69 without a checkpoint",
          [("chaos_test", "ShardAndWorkers.*")]),
    "6": ("SIGKILL of mpirun, or of the coordinator's agent", "nothing left after 5 s; goes on from the checkpoint, SHA",
          [("chaos_test", "KilledRun.GoesOnAfterTheDeathOfMpirun:KilledRun.*Agent:*LostAgents.*")]),
    "7": ("SIGKILL of every process", "L <= 50, SHA", [("chaos_test", "KilledRun.*EveryProcess")]),
    "8": ("a worker is stopped (SIGSTOP); a pause of 2 s", "named at 1 s, replaced at 3 s, R 8, L 0, SHA",
          [("chaos_test", "Liveness.Stopped*:Liveness.PauseOf*")]),
    "9": ("a shard is stopped", "dead at 3 s, SHA", [("chaos_long_test", "StoppedShard.*")]),
    "10": ("30 steps of a worker take 150 ms longer", "named within 20 steps, SHA", [("chaos_test", "Liveness.SlowWorker*")]),
    "11": ("a worker is cut off: from all, of what it says, of what it hears, from the shards, from the coordinator",
           "dead at 3 s, R 8, L 0, SHA", [("chaos_long_test", "CutOffWorker.*")]),
    "12": ("the coordinator is cut off from all others for 30 s", "goes on 3 s after healing (R 33), SHA",
           [("chaos_long_test", "CutOffCoordinator.*")]),
    "13": ("everything is delayed by 100 +- 50 ms, and a connection is reset each second, for 60 s", "0 evictions, SHA",
           [("chaos_long_test", "WireLong.Delays*"), ("chaos_test", "ControlConnections.*")]),
    "14": ("a connection is cut at every byte of handshake and frame", "closed, memory + <= 1 MiB",
           [("common_net_test", "Hostile.AFrameCut*:Acceptor.OutlivesAHandshake*")]),
    "15": ("lengths of 2^31, 2^40, 2^63, -1", "refused before anything is allocated",
           [("common_net_test", "Hostile.Lengths*:Connection.Lengths*"), ("common_base_test", "BoundedArchive.*")]),
    "16": ("flipped bits", "0 bad updates",
           [("common_net_test", "Hostile.AFrameWithAnyBit*:Connection.ByteFlipped*"), ("chaos_long_test", "FlippedBits.*")]),
    "17": ("a port scan: HTTP, TLS, a megabyte of noise", "dropped at the magic, SHA",
           [("common_net_test", "Hostile.AMegabyte*:Acceptor.Drops*:HostileFlood.*"), ("chaos_long_test", "Bystanders.AScan*")]),
    "18": ("1,000 half-open connections", "a real worker joins in 2 s",
           [("common_net_test", "Hostile.AThousand*:Acceptor.ManySilent*")]),
    "19": ("wrong secret, replayed handshake, another job", "refused; 77; the secret in no log or argument",
           [("common_net_test", "Handshake.*"), ("training_ends_test", "Refusal.OfARankWithAnotherSecret*"),
            ("tutti_program_test", "*TheSecretIsInNoArgument*")]),
    "20": ("another model, dtype, order, seed on one rank", "refused on all ranks with the first difference; 78",
           [("training_ends_test", "Tables/Refusal.*")]),
    "21": ("NaN or infinity in one rank's gradient", "all skip the same step; the third in a row ends with 65",
           [("training_test", "NanPolicy.*")]),
    "22": ("a flipped bit in one replica", "found at the next comparison, SHA", [("training_test", "Replicas.*")]),
    "23": ("disk full at any write of a checkpoint", "training goes on; 74 only if the last save fails",
           [("common_checkpoint_test", "CheckpointFaults.AFullDisk*"), ("training_test", "Checkpointing.TrainingGoesOn*")]),
    "24": ("a torn checkpoint", "0 bad loads",
           [("common_checkpoint_test", "TornCheckpoint.*:CheckpointFaults.AProcessKilled*:CheckpointFaults.APowerCut*"),
            ("training_test", "Checkpointing.ATorn*")]),
    "25": ("a fixed port is taken", "named with its holder; 69; a range takes another",
           [("tutti_program_test", "*AFixedPortThatIsTaken*"), ("common_net_test", "Acceptor.NamesTheHolder*:Acceptor.TakesTheNext*")]),
    "26": ("two jobs on one host in one range of ports", "both SHA",
           [("chaos_long_test", "Bystanders.TwoRuns*"), ("common_net_test", "Acceptor.RefusesTheWrongSecret*")]),
    "27": ("a process of an older generation comes back", "refused",
           [("common_control_test", "CoordinatorReplace.*OldGeneration*:CoordinatorReplace.FramesOfTheLost*")]),
    "28": ("the wall clock of one rank jumps by an hour", "0 evictions, SHA", [("chaos_long_test", "Bystanders.TheWallClock*")]),
    "29": ("SIGTERM or USR1", "step ended, saved, 75; goes on, SHA", [("training_ends_test", "Preemption.*")]),
    "30": ("a worker is killed at every try", "three tries, the cause last; 70", [("chaos_test", "CrashLoop.*")]),
    "31": ("one rank runs out of batches early", "no hang", [("training_test", "Join.*")]),
    "32": ("the world shrinks for good, or grows", "every sample once in each epoch", [("chaos_test", "Elastic.*")]),
    "33": ("a worker's training thread spins", "named, replaced, SHA", [("chaos_test", "Liveness.WorkerThatSpins*")]),
    "34": ("an agent that is not the first dies (`srun`)", "its ranks are taken over, SHA", [("chaos_test", "LostAgent.*")]),
    "35": ("death before the first step, between epochs, at the end", "SHA",
           [("chaos_test", "KilledWorker.OutsideOfItsSteps*")]),
    "36": ("the newcomer, or who feeds it, dies during the transfer", "R 10, SHA", [("chaos_long_test", "Transfer.*")]),
    "37": ("the program throws the same exception at every try", "three tries, its words last; 70",
           [("chaos_test", "Replacement.ExceptionThatComesAgain*")]),
}


def run(program, tests):
    """(lines of measurement, passed, failed, skipped)"""
    if not os.path.exists(f"{BIN}/{program}"):
        sys.stderr.write(f"{BIN}/{program} is not there\n")
        return [], 0, 1, 0
    done = subprocess.run([f"{BIN}/{program}", f"--gtest_filter={tests}"], capture_output=True, text=True, check=False)
    names = {word: len(re.findall(rf"^\[ +{word} +\] \S+ \(", done.stdout, re.M)) for word in ("OK", "FAILED", "SKIPPED")}
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
    failed = max(names["FAILED"], int(done.returncode != 0))
    lines = [dict(word.split("=", 1) for word in line.split()[1:])
             for line in done.stdout.splitlines() if line.startswith("measured ")]
    return lines, names["OK"], failed, names["SKIPPED"]


def worst(lines, key):
    values = [float(line[key]) for line in lines if line.get(key, "-") != "-"]
    if not values:
        return ""
    return f"{max(values):.0f}" if key == "L" else f"{max(values):.2f}"


def same_bits(lines):
    words = {line["SHA"] for line in lines if line.get("SHA", "-") != "-"}
    return "" if not words else "no" if "no" in words else "yes"


def missed(target, lines):
    """What of the target the row's figures miss: "D 0.3, L 0"."""
    found = []
    for key, most in re.findall(r"\b([DRL]) (?:<= )?([\d.]+)", target):
        measured = worst(lines, key)
        if measured and float(measured) > float(most):
            found.append(f"{key} {most}")
    if "SHA" in target and same_bits(lines) == "no":
        found.append("SHA")
    return ", ".join(found)


def row_text(row, long):
    fault, target, tests = ROWS[row]
    lines, passed, failed, skipped = [], 0, 0, 0
    for program, names in tests:
        if not long and program == "chaos_long_test":
            continue
        measured, ok, bad, left_out = run(program, names)
        lines += measured
        passed, failed, skipped = passed + ok, failed + bad, skipped + left_out
    if passed + failed + skipped == 0:
        return None, True
    result = f"{passed} passed" + (f", {failed} FAILED" if failed else "") + (f", {skipped} skipped" if skipped else "")
    misses = missed(target, lines)
    if misses:
        result += f"; MISSES {misses}"
    faults = sum("step" in line for line in lines)
    cells = [row, fault, target, str(faults or ""), *(worst(lines, key) for key in "DRL"), same_bits(lines), result]
    return "| " + " | ".join(cells) + " |", failed == 0


def main(arguments):
    long = "--short" not in arguments
    rows = [word for word in arguments if word != "--short"] or list(ROWS)
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; known are {', '.join(ROWS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| row | fault | target | faults | D | R | L | SHA | tests |")
    print("|---|---|---|---|---|---|---|---|---|")
    good = True
    for row in rows:
        text, passed = row_text(row, long)
        good = good and passed
        if text:
            print(text, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
