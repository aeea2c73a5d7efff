// The official npm package `cloudflare`, unmodified, against the simulator: all nine operations,
// both ways to authenticate, and the errors as that package names them.
//
// MOONTAP_BIN is the program, MOONTAP_NPM the directory with node_modules.

'use strict';

const assert = require('node:assert/strict');
const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { createRequire } = require('node:module');
const { describe, it } = require('node:test');

const moontap = process.env.MOONTAP_BIN;
const installed = path.join(process.env.MOONTAP_NPM ?? '.', 'node_modules/cloudflare');
assert.ok(fs.existsSync(installed), `${installed} is missing: run tools/npm first`);
const Cloudflare = createRequire(path.join(process.env.MOONTAP_NPM, 'x.cjs'))('cloudflare');

const BUCKET = 's3://npm-bucket/captures?region=us-east-1';
const SIMPLE = { packet_limit: 1000, system: 'magic-transit', time_limit: 30, type: 'simple' };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Starts `moontap sim` with these options; resolves to what it exports and how to stop it.
async function simulate(...options) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'moontap-npm-'));
  const child = spawn(moontap, ['sim', '--port-file', 'port', '--bucket', 'bucket', ...options],
    { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data) => { text += data; });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const said = /^CLOUDFLARE_API_TOKEN=.*\n/m; // the last of it, which may come in pieces
  for (let i = 0; i < 5000 && !(said.test(text) && fs.existsSync(path.join(dir, 'port'))); i++) {
    await sleep(20);
  }
  const env = Object.fromEntries(text.trim().split('\n').map((line) => line.split(/=(.*)/s)));
  return {
    dir,
    account: env.CLOUDFLARE_ACCOUNT_ID,
    token: env.CLOUDFLARE_API_TOKEN,
    url: env.CLOUDFLARE_BASE_URL,
    client(settings) {
      return new Cloudflare({
        apiToken: env.CLOUDFLARE_API_TOKEN, apiEmail: null, apiKey: null, userServiceKey: null,
        baseURL: env.CLOUDFLARE_BASE_URL, maxRetries: 0, timeout: 20000, ...settings,
      });
    },
    async stop() {
      child.kill('SIGTERM');
      assert.equal(await ended, 0);
      fs.rmSync(dir, { recursive: true });
    },
  };
}

// Runs `body` with a simulator.
async function withSim(options, body) {
  const sim = await simulate(...options);
  try {
    await body(sim, sim.client().magicTransit.pcaps, { account_id: sim.account });
  } finally {
    await sim.stop();
  }
}

// The error that `promise` fails with, which is of `kind`.
async function refused(kind, status, promise) {
  const error = await promise.then(() => assert.fail('it was not refused'), (e) => e);
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error}`);
  assert.equal(error.status, status);
  assert.ok(error.headers.get('cf-ray'));
  return error;
}

async function collect(pages) {
  const list = [];
  for await (const entry of pages) {
    list.push(entry);
  }
  return list;
}

async function addBucket(sim, pcaps, account) {
  const made = await pcaps.ownership.create({ ...account, destination_conf: BUCKET });
  const file = path.join(sim.dir, 'bucket/s3/npm-bucket/captures', made.filename);
  return { made, challenge: fs.readFileSync(file, 'utf8') };
}

describe('a simple capture', () => {
  it('is created, listed, got and downloaded', () => withSim(['--knob', 'gzip=true'],
    async (sim, pcaps, account) => {
      const made = await pcaps.create({ ...account, ...SIMPLE });
      assert.match(made.id, /^[0-9a-f]{32}$/);
      assert.equal(made.type, 'simple');
      assert.deepEqual((await collect(pcaps.list(account))).map((cap) => cap.id), [made.id]);
      let cap = made;
      for (let i = 0; i < 100 && cap.status !== 'success'; i++) {
        await sleep(100);
        cap = await pcaps.get(made.id, account);
      }
      assert.equal(cap.status, 'success');
      const answer = await pcaps.download.get(made.id, account);
      assert.equal(answer.headers.get('content-type'), 'application/vnd.tcpdump.pcap');
      const bytes = Buffer.from(await answer.arrayBuffer());
      assert.equal(bytes.readUInt32LE(0), 0xa1b2c3d4);
      const file = path.join(sim.dir, 'simple.pcap');
      fs.writeFileSync(file, bytes);
      const lines = execFileSync('tcpdump', ['-nr', file], { stdio: ['ignore', 'pipe', 'ignore'] });
      assert.ok(lines.toString().split('\n').length > 100);
    }));
});

describe('a full capture', () => {
  it('goes into a bucket that was validated, and can be stopped', () => withSim([],
    async (sim, pcaps, account) => {
      const full = { ...account, system: 'magic-transit', type: 'full', time_limit: 600,
        colo_name: 'ORD', destination_conf: BUCKET, byte_limit: 1000000 };
      await refused(Cloudflare.BadRequestError, 400, pcaps.create(full));
      const { made, challenge } = await addBucket(sim, pcaps, account);
      assert.equal(made.status, 'pending');
      const name = { ...account, destination_conf: BUCKET, ownership_challenge: made.filename };
      await refused(Cloudflare.BadRequestError, 400, pcaps.ownership.validate(name));
      const valid = await pcaps.ownership.validate({ ...name, ownership_challenge: challenge });
      assert.equal(valid.status, 'success');
      assert.deepEqual((await collect(pcaps.ownership.get(account))).map((o) => o.id), [made.id]);
      const cap = await pcaps.create(full);
      assert.equal(cap.colo_name, 'ORD');
      await refused(Cloudflare.ConflictError, 409, pcaps.create(full));
      await refused(Cloudflare.BadRequestError, 400, pcaps.download.get(cap.id, account));
      await pcaps.stop(cap.id, account);
      assert.ok((await pcaps.get(cap.id, account)).stop_requested);
      await pcaps.ownership.delete(made.id, account);
      assert.deepEqual(await collect(pcaps.ownership.get(account)), []);
      await refused(Cloudflare.NotFoundError, 404, pcaps.ownership.delete(made.id, account));
    }));
});

describe('errors', () => {
  it('have the classes that the package gives them', () => withSim([],
    async (sim, pcaps, account) => {
      const wrong = await refused(Cloudflare.BadRequestError, 400,
        pcaps.create({ ...account, ...SIMPLE, time_limit: 301 }));
      assert.equal(wrong.errors[0].source.pointer, '/time_limit');
      await refused(Cloudflare.NotFoundError, 404, pcaps.get('0'.repeat(32), account));
      await refused(Cloudflare.NotFoundError, 404, pcaps.stop('0'.repeat(32), account));
      await refused(Cloudflare.PermissionDeniedError, 403,
        sim.client({ apiToken: 'x'.repeat(40) }).magicTransit.pcaps.get('0'.repeat(32), account));
      await refused(Cloudflare.PermissionDeniedError, 403, pcaps.get('1', { account_id: 'other' }));
      const cap = await pcaps.create({ ...account, ...SIMPLE });
      await refused(Cloudflare.BadRequestError, 400, pcaps.stop(cap.id, account));
      const limited = await refused(Cloudflare.RateLimitError, 429,
        pcaps.create({ ...account, ...SIMPLE }));
      assert.ok(Number(limited.headers.get('retry-after')) > 0);
    }));

  it('are retried blindly by that package: a lost answer becomes a second capture', () => withSim(
    ['--fault', 'create:error_json,done=true,count=1', '--knob', 'simple_interval=0'],
    async (sim, _, account) => {
      const { pcaps } = sim.client({ maxRetries: 2 }).magicTransit;
      await pcaps.create({ ...account, ...SIMPLE });
      assert.equal((await collect(pcaps.list(account))).length, 2);
    }));

  it('of the connection are connection errors', () => withSim(
    ['--fault', 'get:cut_before', '--fault', 'list:malformed_json'],
    async (sim, pcaps, account) => {
      await assert.rejects(pcaps.get('0'.repeat(32), account), Cloudflare.APIConnectionError);
      await assert.rejects(collect(pcaps.list(account)));
    }));
});

describe('e-mail and key', () => {
  it('are accepted in place of a token, and refused when they are wrong', () => withSim([],
    async (sim, _, account) => {
      const key = execFileSync(moontap, ['run', '-e',
        'local s = require "moontap.sim".start { transport = "inproc" } '
        + 'io.write(s.api_email, " ", s.api_key) s:close()']).toString().split(' ');
      const right = sim.client({ apiToken: null, apiEmail: key[0], apiKey: key[1] });
      assert.equal((await collect(right.magicTransit.pcaps.list(account))).length, 0);
      const wrong = sim.client({ apiToken: null, apiEmail: 'operator@example.com',
        apiKey: 'f'.repeat(37) });
      await refused(Cloudflare.PermissionDeniedError, 403,
        wrong.magicTransit.pcaps.get('1', account));
    }));
});

// What the package's own test suite sends.
describe('the examples of the package', () => {
  const ID = '023e105f4ecef8ad9ca31a8372d0c353';
  const FILTER = { destination_address: '1.2.3.4', destination_port: 80, protocol: 6,
    source_address: '1.2.3.4', source_port: 123 };
  const examples = (pcaps) => ({
    create: () => pcaps.create({ account_id: ID, packet_limit: 10000, system: 'magic-transit',
      time_limit: 300, type: 'simple', filter_v1: FILTER, offset_time: '2020-01-01T08:00:00Z' }),
    full: () => pcaps.create({ account_id: ID, system: 'magic-transit', time_limit: 300,
      type: 'full', colo_name: 'ord02', byte_limit: 500000, packet_limit: 10000, filter_v1: FILTER,
      destination_conf: 's3://pcaps-bucket?region=us-east-1' }),
    list: () => collect(pcaps.list({ account_id: ID })),
    get: () => pcaps.get(ID, { account_id: ID }),
    stop: () => pcaps.stop(ID, { account_id: ID }),
    download: () => pcaps.download.get(ID, { account_id: ID }),
    add: () => pcaps.ownership.create({ account_id: ID,
      destination_conf: 's3://pcaps-bucket?region=us-east-1' }),
    buckets: () => collect(pcaps.ownership.get({ account_id: ID })),
    validate: () => pcaps.ownership.validate({ account_id: ID,
      destination_conf: 's3://pcaps-bucket?region=us-east-1',
      ownership_challenge: 'ownership-challenge-9883874ecac311ec8475433579a6bf5f.txt' }),
    remove: () => pcaps.ownership.delete(ID, { account_id: ID }),
  });

  it('all pass with --lenient', () => withSim(['--lenient'], async (sim) => {
    const client = sim.client({ apiToken: 'Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY' });
    for (const [name, send] of Object.entries(examples(client.magicTransit.pcaps))) {
      await send().catch((error) => assert.fail(`${name}: ${error}`));
    }
  }));

  it('are refused without it', () => withSim([], async (sim, pcaps) => {
    for (const send of Object.values(examples(pcaps))) {
      await refused(Cloudflare.PermissionDeniedError, 403, send());
    }
  }));
});
