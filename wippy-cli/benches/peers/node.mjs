// The tasks of the comparison, done by what jco makes of the component: see the README for what is asked and answered.

import assert from "node:assert";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const { instantiate } = await import(pathToFileURL(`${folder}/bench.js`));
const modules = new Map();
const module = (path) => {
  if (!modules.has(path)) modules.set(path, new WebAssembly.Module(readFileSync(`${folder}/${path}`)));
  return modules.get(path);
};

const bench = instantiate(module, {});
const text = "x".repeat(100);
const bytes = new Uint8Array(64 << 10).fill("y".charCodeAt(0));
const users = Array.from({ length: 1000 }, (_, index) => {
  const id = index + 1;
  return { id, name: `user-name-${id}`, email: `user${id}@example.org`, active: id % 2 === 0 };
});

const tasks = {
  add(loops) {
    for (let number = 0; number < loops; number++) assert(bench.add(number, 1) === number + 1);
  },
  string(loops) {
    for (let number = 0; number < loops; number++) assert(bench.echoString(text).length === 100);
  },
  bytes(loops) {
    for (let number = 0; number < loops; number++) assert(bench.echoBytes(bytes).length === 64 << 10);
  },
  users(loops) {
    for (let number = 0; number < loops; number++) assert(bench.echoUsers(users).length === 1000);
  },
  fresh(loops) {
    for (let number = 0; number < loops; number++) assert(instantiate(module, {}).add(number, 1) === number + 1);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [task, loops] = line.split(" ");
  const begun = process.hrtime.bigint();
  tasks[task](Number(loops));
  console.log(Number(process.hrtime.bigint() - begun) / Number(loops));
}
