// cron.cjs PACKAGES EXPRESSION ZONE COUNT: as cron.lua, with the npm package croner.

'use strict';

const path = require('node:path');
const { createRequire } = require('node:module');

const [packages, expression, timezone, count] = process.argv.slice(2);
const { Cron } = createRequire(path.resolve(packages, 'x.cjs'))('croner');

const schedule = new Cron(expression, { timezone });
let t = new Date(1767225599000);
for (let i = 0; i < Number(count); i++) t = schedule.nextRun(t);
console.log(t.getTime() / 1000);
