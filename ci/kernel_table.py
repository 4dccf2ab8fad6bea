"""Reads what the guests of ci/kernels reported and prints a table; exit code 1 on any failure.

Usage: kernel_table.py FOLDER MOST_INSTRUCTIONS NAME...

NAME.report holds a line of JSON by twinmesh-verifier, then the report of `twinmesh conform --json`,
then the string "end"; NAME.log is the guest's console.
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


def problems(verifier, report, most):
    """Why a kernel's verdict is not good, in words; empty where it is."""
    instructions = verifier["verified_instructions"]
    if instructions is None:
        yield "the kernel does not say how many instructions it verified"
    elif instructions > most:
        yield f"{instructions:,} verified instructions are more than {most:,}"
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
    if len(found) != 3 or found[2] != "end":
        log = folder / f"{name}.log"
        console = log.read_text(errors="replace").splitlines() if log.exists() else []
        last = "\n    ".join(line for line in console[-30:] if line.strip())
        return [name, "–", "–", "–", "–", "–", "–"], [f"no verdict; the console's last lines:\n    {last}"]
    verifier, report, _ = found
    rows = [result for result in report["results"] if result["engine"] == "kernel"]
    total = {key: sum(result[key] for result in rows) for key in ("requests", "agreements", "unsupported")}
    cells = [
        verifier["kernel"],
        f"`{verifier['program']}`",
        f"{verifier['verified_instructions'] or 0:,}",
        str(len(rows)),
        f"{total['requests']:,}",
        f"{total['agreements']:,}",
        f"{total['unsupported']:,}",
    ]
    return cells, list(problems(verifier, report, most))


def main():
    folder, most = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    print("| kernel | program | verified instructions | cases | requests | agreements | unsupported |")
    print("|---|---|---:|---:|---:|---:|---:|")
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
