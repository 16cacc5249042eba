#!/usr/bin/env python3
"""What a call costs in instructions, by the part of the path: two runs of the benchmark `profile` under callgrind, which differ
in the number of calls, and the difference of both by function.

    wippy-cli/benches/instructions.py add 1000 11000 [--functions 40] [--profile fast]
    wippy-cli/benches/instructions.py echo_users 2 12

Instructions do not depend on what else the machine does. They are no times either: a system call counts as one.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import tempfile

# The first that fits a function's name names its part.
PARTS = [
    ("Lua", r"^(lua[A-Z_]|luaV_|luaH_|luaC_|luaD_|luaE_|luaM_|luaO_|luaS_|luaT_|lua_|luaL_|sweep|propagate|mark|reallymark|traverse|l_|"
            r"GCTM|precall|ccall|rawrunprotected|finishrawget|getfreepos|mainposition|reprepstate|index2value|internshrstr|"
            r"freeobj|singlestep|resume|tryagain|auxgetstr|aux_|close|prepcallinfo|f_|clear|rehash|numusearray|luai_|hashint|getgeneric|equalkey)"),
    ("script side (wippy_lua, mlua)", r"wippy_lua|mlua"),
    ("permission, dispatcher, context (wippy_security)", r"wippy_security"),
    ("values, plans (wippy_wit)", r"wippy_wit"),
    ("conversion (wippy_wasm::abi)", r"wippy_wasm::abi"),
    ("instance, pool, limits (wippy_wasm)", r"wippy_wasm"),
    ("engine: stack switch", r"fiber|wasmtime_fiber"),
    ("engine (wasmtime)", r"wasmtime|cranelift|wasm_"),
    ("allocator", r"mi_|mimalloc|malloc|free|realloc|__rust_alloc|__rdl|alloc::alloc"),
    ("copying memory", r"mem(cpy|move|set|cmp)|__memcpy|bcmp"),
    ("scheduler, clock (tokio, std)", r"tokio|clock_gettime|vdso|std::time|arc_swap"),
    ("guest, compiled", r"^(0x|\?\?\?)"),
]


def binary(profile):
    """Builds the benchmark and says where it is."""
    command = ["cargo", "bench", "-p", "wippy-cli", "--bench", "profile", "--no-run", "--message-format=json"]
    command += ["--profile", profile]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "profile":
            return message["executable"]
    raise SystemExit("cargo built no benchmark `profile`")


def costs(program, name, loops):
    """Instructions by function, of the whole program."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--smc-check=none", program, name, str(loops)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        found, names, current, skip = collections.Counter(), {}, None, False
        for line in out.read_text(errors="replace").splitlines():
            if line.startswith("fn="):
                key, _, text = line[3:].partition(" ")
                current = names.setdefault(key, text or key)
            elif line.startswith("cfn="):
                key, _, text = line[4:].partition(" ")
                names.setdefault(key, text or key)
            elif line.startswith("calls="):
                # The next line is what the callee took, which is counted there.
                skip = True
            elif line[:1].isdigit() or line[:1] in "+-*":
                columns = line.split()
                # A line that cost nothing has no second column.
                if not skip and len(columns) > 1:
                    found[current] += int(columns[1])
                skip = False
        return found


def part(function):
    for name, pattern in PARTS:
        if re.search(pattern, function):
            return name
    return "other"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("few", type=int)
    parser.add_argument("many", type=int)
    parser.add_argument("--functions", type=int, default=0, help="list so many functions, too")
    parser.add_argument("--profile", default="bench")
    parser.add_argument("--program", help="the benchmark, if it was built before")
    options = parser.parse_args()
    program = options.program or binary(options.profile)
    few, many = (costs(program, options.name, loops) for loops in (options.few, options.many))
    each = {name: (many[name] - few[name]) / (options.many - options.few) for name in many}
    total, parts = sum(each.values()), collections.Counter()
    for name, cost in each.items():
        parts[part(name)] += cost
    print(f"{options.name}: {total:,.0f} instructions a call")
    for name, cost in parts.most_common():
        print(f"| {name} | {cost:,.0f} | {cost / total:.0%} |")
    for name, cost in sorted(each.items(), key=lambda item: -item[1])[: options.functions]:
        print(f"{cost:12,.1f}  {part(name):30.30}  {name}")


main()
