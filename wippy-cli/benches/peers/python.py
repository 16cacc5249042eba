"""The tasks of the comparison, done by the wasmtime package of Python: see the README for what is asked and answered."""

import sys
import time

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker


class User:
    __slots__ = ("id", "name", "email", "active")

    def __init__(self, id, name, email, active):
        self.id, self.name, self.email, self.active = id, name, email, active


engine = Engine()
component = Component.from_file(engine, sys.argv[1])
linker = Linker(engine)
store = Store(engine)
instance = linker.instantiate(store, component)
add, echo_string, echo_bytes, echo_users = (
    instance.get_func(store, name) for name in ("add", "echo-string", "echo-bytes", "echo-users")
)
text, data = "x" * 100, b"y" * (64 << 10)
users = [User(i, f"user-name-{i}", f"user{i}@example.org", i % 2 == 0) for i in range(1, 1001)]


def fresh(number):
    store = Store(engine)
    instance = linker.instantiate(store, component)
    return instance.get_func(store, "add")(store, number, 1)


def run_add(loops):
    for number in range(loops):
        assert add(store, number, 1) == number + 1


def run_string(loops):
    for _ in range(loops):
        assert len(echo_string(store, text)) == 100


def run_bytes(loops):
    for _ in range(loops):
        assert len(echo_bytes(store, data)) == 64 << 10


def run_users(loops):
    for _ in range(loops):
        assert len(echo_users(store, users)) == 1000


def run_fresh(loops):
    for number in range(loops):
        assert fresh(number) == number + 1


tasks = {"add": run_add, "string": run_string, "bytes": run_bytes, "users": run_users, "fresh": run_fresh}
for line in sys.stdin:
    task, loops = line.split()
    begun = time.perf_counter_ns()
    tasks[task](int(loops))
    print((time.perf_counter_ns() - begun) / int(loops), flush=True)
