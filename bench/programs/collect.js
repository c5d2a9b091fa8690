"use strict";
// Put before a program that is measured (`node --require`): at SIGUSR2 it collects garbage, whole, and then says so by writing how
// many bytes of the heap are in use into the file that COLLECTED names. Memory that is only waiting to be collected is no client's.

const fs = require("fs");
const v8 = require("v8");
const vm = require("vm");

v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc");

process.on("SIGUSR2", () => {
  collect();
  // What the first lets go of, others may have held.
  setTimeout(() => {
    collect();
    const whole = `${process.env.COLLECTED}.whole`;
    fs.writeFileSync(whole, String(process.memoryUsage().heapUsed));
    fs.renameSync(whole, process.env.COLLECTED);
  }, 200);
});
