"""Reads what the guests of ci/kernels reported and prints a table; exit code 1 on any failure.

Usage: kernel_table.py FOLDER MOST_INSTRUCTIONS NAME...

NAME.report holds lines of JSON by twinmesh-verifier (one a program, one a path of the datapath), then
the report of `twinmesh conform --json`, then the string "end"; NAME.log is the guest's console.
"""

import json
import pathlib
import sys


def values(text):
    """The JSON values that stand one after the other in a text; stops where it is cut off."""
    decoder = json.JSONDecoder()
    found = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            break
        found.append(value)
    return found


PATHS = {"load", "attach", "redirect", "splice", "connect_time"}


def problems(programs, paths, report, most):
    """Why a kernel's verdict is not good, in words; empty where it is."""
    for program in programs:
        instructions = program["verified_instructions"]
        if instructions is None:
            yield f"the kernel does not say how many instructions of {program['program']} it verified"
        elif instructions > most:
            yield f"{program['program']}: {instructions:,} verified instructions are more than {most:,}"
    for path in paths:
        if not path["works"]:
            yield f"the path {path['path']} carries no traffic: {path['what']}"
    for missing in sorted(PATHS - {path["path"] for path in paths}):
        yield f"the path {missing} was not tried"
    for engine in report["engines_not_run"]:
        yield f"the engine {engine['engine']} did not run: {engine['reason']}"
    for error in report["errors"]:
        yield f"{error['case']}, {error['engine']}: {error['message']}"
    rows = [row for row in report["results"] if row["engine"] == "kernel"]
    if not sum(row["requests"] for row in rows):
        yield "the engine kernel decided no request"
    for row in report["results"]:
        if row["divergences"]:
            yield f"{row['case']}, {row['engine']}: {row['divergences']} divergences"
    if not report["agree"]:
        yield "conform says that the engines do not agree"


def read(folder, name, most):
    """A kernel's row and its problems."""
    path = folder / f"{name}.report"
    found = values(path.read_text(errors="replace")) if path.exists() else []
    reports = [value for value in found if isinstance(value, dict) and "results" in value]
    programs = [value for value in found if isinstance(value, dict) and "program" in value]
    if not found or found[-1] != "end" or len(reports) != 1 or not programs:
        log = folder / f"{name}.log"
        console = log.read_text(errors="replace").splitlines() if log.exists() else []
        last = "\n    ".join(line for line in console[-30:] if line.strip())
        return [name] + ["–"] * 7, [f"no verdict; the console's last lines:\n    {last}"]
    report = reports[0]
    paths = [value for value in found if isinstance(value, dict) and "path" in value]
    rows = [result for result in report["results"] if result["engine"] == "kernel"]
    total = {key: sum(result[key] for result in rows) for key in ("requests", "agreements", "unsupported")}
    counts = {program["program"]: program["verified_instructions"] or 0 for program in programs}
    largest = max((name for name in counts if name != "decide"), key=counts.get, default="–")
    cells = [
        programs[0]["kernel"],
        f"{counts.get('decide', 0):,}",
        f"{counts.get(largest, 0):,} (`{largest}`)",
        " ".join(path["path"] for path in paths if path["works"]) or "–",
        str(len(rows)),
        f"{total['requests']:,}",
        f"{total['agreements']:,}",
        f"{total['unsupported']:,}",
    ]
    return cells, list(problems(programs, paths, report, most))


def main():
    folder, most = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    print("| kernel | `decide` | largest of the datapath | paths that carry | cases | requests | agreements | unsupported |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    failed = []
    for name in sys.argv[3:]:
        cells, why = read(folder, name, most)
        print("| " + " | ".join(cells) + " |")
        failed += [f"{name}: {one}" for one in why]
    for one in failed:
        print(f"kernels: {one}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
