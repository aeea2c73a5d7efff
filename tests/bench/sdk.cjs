// sdk.cjs PACKAGES BASE_URL COUNT: one create after another through the official npm package.

'use strict';

const path = require('node:path');
const { createRequire } = require('node:module');

const [packages, baseURL, count] = process.argv.slice(2);
const Cloudflare = createRequire(path.resolve(packages, 'x.cjs'))('cloudflare');

const client = new Cloudflare({
  apiToken: 'bench', apiEmail: null, apiKey: null, userServiceKey: null, baseURL,
});

async function main() {
  for (let i = 0; i < Number(count); i++) {
    const cap = await client.magicTransit.pcaps.create({
      account_id: 'bench', type: 'simple', system: 'magic-transit', time_limit: 300,
      packet_limit: 10000,
      filter_v1: { destination_address: '203.0.113.10', destination_port: 53, protocol: 17 },
    });
    if (cap.id !== '6d1f0aac13cd40e3900d29f5dd0e8a2b') throw new Error('another capture');
  }
}

main();
