// Schedules against the npm package `croner`, which reads the same grammar with code, and with time
// zones, of its own: random expressions, the same ones each time. Left out is what the two define
// differently: lists, ranges and steps of minutes and hours on days on which the clock jumps, and a
// step of one day field beside the other.
//
// MOONTAP_BIN is the program, MOONTAP_NPM the directory with node_modules.

'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { createRequire } = require('node:module');
const { it } = require('node:test');

const moontap = process.env.MOONTAP_BIN;
const installed = path.join(process.env.MOONTAP_NPM ?? '.', 'node_modules/croner');
assert.ok(fs.existsSync(installed), `${installed} is missing: run tools/npm first`);
const { Cron } = createRequire(path.join(process.env.MOONTAP_NPM, 'x.cjs'))('croner');

const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu',
  'Pacific/Apia', 'America/Sao_Paulo', 'Africa/Casablanca', 'Europe/Dublin', 'UTC'];
const FIRES = 5;
const DAY = 86400;
const FROM = Date.UTC(2012, 0, 10) / 1000; // Apia's missing day lies before it
const YEARS = 18;

// Numbers that follow from a seed (mulberry32).
function generator(seed) {
  let state = seed;
  return function draw(below) {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const formats = new Map();

// Seconds by which local time is ahead of UTC at `t`.
function offset(zone, t) {
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat('en-US', {
      timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric',
      hour: 'numeric', minute: 'numeric', second: 'numeric',
    }));
  }
  const p = Object.fromEntries(formats.get(zone).formatToParts(t * 1000).map((x) => [x.type, +x.value]));
  return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) / 1000 - t;
}

// The last midnights (UTC) before the clock of `zone` jumps.
function jumps(zone) {
  const found = [];
  let before = offset(zone, FROM);
  for (let t = FROM; t < FROM + YEARS * 365 * DAY; t += DAY) {
    const now = offset(zone, t + DAY);
    if (now !== before) found.push(t);
    before = now;
  }
  return found;
}

const one = (draw, list) => list[draw(list.length)];
const DAYS = ['*', '*', '*', '*', '1', '15', '31', '1,15', '10-20', '28-31', 'L', '15W', 'LW', '1-31/3'];
const WEEKDAYS = ['*', '*', '*', '*', '1', '0', '7', '1-5', 'mon-fri', '6,0', 'FRI#2', '5L', '2#1'];
const MONTHS = ['*', '*', '*', '1', '2', '3-5', 'jan,jul', '*/3', '10', '2-12/5', 'mar', 'oct,nov'];

function small(draw, max) {
  const a = draw(max + 1);
  const b = a + draw(max + 1 - a);
  return one(draw, ['*', `${a}`, `${a}-${b}`, `${a},${b}`, `${a}-${b}/${1 + draw(b - a + 1)}`,
    `*/${1 + draw(max)}`]);
}

// Any day, those of jumps too: single values and stars.
function anywhere(draw, zone, jumpsOf) {
  const minute = one(draw, ['*', `${draw(60)}`, '0', '30', '15']);
  const hour = one(draw, ['*', `${draw(24)}`, `${draw(4)}`, '2', '1']);
  const near = jumpsOf.length > 0 && draw(2) === 0;
  const from = near ? one(draw, jumpsOf) - DAY + draw(2 * DAY) : FROM + draw(YEARS * 365 * DAY);
  const days = near ? '* * *' : `${one(draw, DAYS)} ${one(draw, MONTHS)} ${one(draw, WEEKDAYS)}`;
  return { expr: `${minute} ${hour} ${days}`, zone, from };
}

// Days without a jump: everything.
function elsewhere(draw, zone, jumpsOf) {
  const expr = `${small(draw, 59)} ${small(draw, 23)} * * ${one(draw, WEEKDAYS.slice(0, 10))}`;
  for (;;) {
    const from = FROM + draw(YEARS * 365 * DAY);
    if (!jumpsOf.some((t) => t > from - 3 * DAY && t < from + 45 * DAY)) return { expr, zone, from };
  }
}

function generate(count) {
  const draw = generator(20261126);
  const known = new Map(ZONES.map((zone) => [zone, jumps(zone)]));
  const cases = [];
  while (cases.length < count) {
    const zone = one(draw, ZONES);
    cases.push((draw(4) > 0 ? anywhere : elsewhere)(draw, zone, known.get(zone)));
  }
  return cases;
}

it('fires when croner fires, for thousands of random expressions', () => {
  const cases = generate(6000);
  const input = cases.map((c) => `${c.expr}\t${c.zone}\t${c.from}\t${FIRES}\n`).join('');
  const output = execFileSync(moontap, ['run', path.join(__dirname, 'fires.lua')],
    { input, encoding: 'utf8', maxBuffer: 1 << 26 }).trimEnd().split('\n');
  assert.equal(output.length, cases.length);
  const differing = [];
  cases.forEach((c, i) => {
    const theirs = new Cron(c.expr, { timezone: c.zone }).nextRuns(FIRES, new Date(c.from * 1000))
      .map((date) => date.getTime() / 1000).join(' ');
    if (theirs !== output[i]) {
      differing.push(`${c.expr} in ${c.zone} from ${new Date(c.from * 1000).toISOString()}: `
        + `${output[i]}, croner ${theirs}`);
    }
  });
  assert.equal(differing.length, 0, `${differing.length} differ:\n${differing.slice(0, 20).join('\n')}`);
});
