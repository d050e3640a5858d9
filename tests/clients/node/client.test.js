'use strict';
// Rule: a Node.js client made from the public .proto files alone can do what KeyValue, Cluster, health and
// reflection promise. ENDPOINTS names the client ports of a running three-node cluster, PROTO its files.
const { after, test } = require('node:test');
const assert = require('node:assert/strict');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { detailsOf } = require('./details.js');

const endpoints = process.env.ENDPOINTS.split(',');
const protos = ['coterie/v1/key_value_service', 'coterie/v1/cluster_service', 'grpc/health/v1/health',
  'grpc/reflection/v1/reflection', 'grpc/reflection/v1alpha/reflection'];
const loaded = grpc.loadPackageDefinition(loader.loadSync(protos.map((p) => path.join(process.env.PROTO, `${p}.proto`)),
  { includeDirs: [process.env.PROTO], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }));

const clients = [];
function client(Service, node) {
  const made = new Service(endpoints[node], grpc.credentials.createInsecure());
  clients.push(made);
  return made;
}
const all = (Service) => endpoints.map((_, node) => client(Service, node));
const kv = all(loaded.coterie.v1.KeyValue);
const cluster = all(loaded.coterie.v1.Cluster);
const health = all(loaded.grpc.health.v1.Health);
after(() => clients.forEach((c) => c.close()));

// A unary call as a promise; 30 s unless told.
function call(stub, method, request, deadlineMs = 30000) {
  return new Promise((resolve, reject) => {
    stub[method](request, { deadline: Date.now() + deadlineMs },
      (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}
const bytes = (word) => Buffer.from(word);
const put = (node, key, value, more = {}) =>
  call(kv[node], 'Put', { key: bytes(key), value: bytes(value), ...more });
// Each replica holds it then: what is next written through any of them covers it, or stands beside it.
const everywhere = { consistency: 'CONSISTENCY_ALL' };
const get = (node, key, more = {}) => call(kv[node], 'Get', { key: bytes(key), ...more });
const values = (reply) => reply.values.map((v) => v.value.toString()).sort();

async function refused(promise, code, expected) {
  const error = await promise.then(
    (reply) => assert.fail(`answered: ${JSON.stringify(reply)}`), (e) => e);
  assert.equal(error.code, code, error.message);
  const details = detailsOf(error);
  assert.equal(details.code, code);
  assert.equal(details.message, error.details);
  assert.equal(details.domain, 'coterie');
  for (const [name, value] of Object.entries(expected)) assert.equal(details[name], value, name);
  return details;
}

let count = 0;
const fresh = () => `node-js-${count++}`;

test('put through one node is read through all', async () => {
  const key = fresh();
  const written = await put(0, key, 'v');
  assert.equal(written.siblings, 1);
  for (const node of [0, 1, 2]) {
    const read = await get(node, key);
    assert.equal(read.found, true);
    assert.deepEqual(values(read), ['v']);
    assert.deepEqual(read.context, written.context);
    assert.equal(read.acknowledgement.needed, 2);
  }
  assert.equal((await get(0, fresh())).found, false);
});

test('any bytes, a megabyte of them', async () => {
  const value = Buffer.alloc(1 << 20, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
  const key = Buffer.from([0, 255, 254, 10, 128]);
  await call(kv[0], 'Put', { key, value });
  const read = await call(kv[1], 'Get', { key });
  assert.ok(read.values[0].value.equals(value));
});

test('siblings, their context, what a put returns', async () => {
  const key = fresh();
  const { context: first } = await put(0, key, 'first', everywhere);
  await put(0, key, 'left', { context: first, ...everywhere });
  const right = await put(1, key, 'right', { context: first, ...everywhere });
  assert.equal(right.siblings, 2);
  assert.deepEqual(values(await get(2, key)), ['left', 'right']);
  // Its context covers "right", not the "left" that nobody has read.
  await put(2, key, 'right again', { context: right.context });
  const both = await get(0, key);
  assert.deepEqual(values(both), ['left', 'right again']);
  const settled = await put(0, key, 'settled', { context: both.context });
  assert.equal(settled.siblings, 1);
  for (const node of [0, 1, 2]) assert.deepEqual(values(await get(node, key)), ['settled']);
});

test('plain puts overwrite; delete keeps what it has not seen', async () => {
  const key = fresh();
  await put(1, key, 'a');
  const { context } = await put(1, key, 'b');
  assert.deepEqual(values(await get(0, key)), ['b']);
  await put(2, key, 'unseen', { context, ...everywhere });
  await call(kv[0], 'Delete', { key: bytes(key), context });
  assert.deepEqual(values(await get(1, key)), ['unseen']);
  await call(kv[0], 'Delete', { key: bytes(key) });
  const gone = await get(2, key);
  assert.equal(gone.found, false);
  assert.ok(gone.context.length > 0);
});

test('levels and counts', async () => {
  const needed = { CONSISTENCY_ONE: 1, CONSISTENCY_QUORUM: 2, CONSISTENCY_ALL: 3, CONSISTENCY_LOCAL_ONE: 1,
    CONSISTENCY_LOCAL_QUORUM: 2, CONSISTENCY_EACH_QUORUM: 2 };
  const key = fresh();
  for (const [consistency, n] of Object.entries(needed)) {
    assert.equal((await put(0, key, 'v', { consistency })).acknowledgement.needed, n, consistency);
    assert.equal((await get(1, key, { consistency })).acknowledgement.needed, n, consistency);
  }
  for (const n of [1, 2, 3]) {
    assert.equal((await put(0, key, 'v', { w: n })).acknowledgement.needed, n);
    assert.equal((await get(1, key, { r: n })).acknowledgement.needed, n);
  }
});

test('ttl', async () => {
  const key = fresh();
  await put(0, key, 'v', { ttl_ms: 3600000 });
  const [value] = (await get(1, key)).values;
  assert.ok(value.ttl_ms > 0 && value.ttl_ms <= 3600000);
  await put(0, key, 'v', { ttl_ms: 1000 });
  const end = Date.now() + 60000;
  while ((await get(1, key)).found) {
    assert.ok(Date.now() < end, 'still there');
    await sleep(50);
  }
});

test('batches', async () => {
  const keys = Array.from({ length: 500 }, fresh);
  const items = keys.map((key) => ({ key: bytes(key), value: bytes(`of ${key}`) }));
  items.push({ key: bytes(''), value: bytes('x') }, { key: bytes(keys[0]), context: bytes('junk'), delete: true });
  const written = await call(kv[0], 'BatchWrite', { items });
  assert.deepEqual(written.items.slice(0, 500).map((i) => [i.key.toString(), i.status.code]), keys.map((k) => [k, 0]));
  assert.deepEqual(written.items.slice(500).map((i) => [i.status.code, i.status.reason, i.result]),
    [[3, 'INVALID_ARGUMENT', null], [3, 'INVALID_ARGUMENT', null]]);
  const read = await call(kv[1], 'BatchGet', { keys: [...keys.map(bytes), bytes(fresh())] });
  assert.deepEqual(read.items.slice(0, 500).map((i) => values(i.result)), keys.map((k) => [`of ${k}`]));
  assert.equal(read.items[500].result.found, false);
});

test('errors carry details', async () => {
  const invalid = { reason: 'INVALID_ARGUMENT' };
  const { INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS } = grpc.status;
  await refused(get(0, ''), INVALID_ARGUMENT, { ...invalid, field: 'key' });
  await refused(get(0, 'k'.repeat(4097)), INVALID_ARGUMENT, { ...invalid, field: 'key' });
  await refused(put(0, 'k', 'x'.repeat((1 << 20) + 1)), INVALID_ARGUMENT, { ...invalid, field: 'value' });
  await refused(put(0, 'k', 'v', { context: bytes('junk') }), INVALID_ARGUMENT, { ...invalid, field: 'context' });
  await refused(put(0, 'k', 'v', { w: 4 }), INVALID_ARGUMENT, { ...invalid, field: 'w' });
  await refused(get(0, 'k', { r: 1, consistency: 'CONSISTENCY_ONE' }), INVALID_ARGUMENT, { ...invalid, field: 'r' });
  const details = await refused(get(0, 'k', { keyspace: 'Bad Name' }), INVALID_ARGUMENT, { ...invalid, field: 'keyspace' });
  assert.equal(details.metadata.field, 'keyspace');
  await refused(get(0, 'k', { keyspace: 'nowhere' }), NOT_FOUND, { reason: 'KEYSPACE_NOT_FOUND' });
  await refused(call(cluster[0], 'CreateKeyspace', { keyspace: { name: 'default' } }), ALREADY_EXISTS,
    { reason: 'ALREADY_EXISTS' });
  await refused(call(kv[0], 'BatchGet', { keys: Array.from({ length: 1001 }, () => bytes('k')) }), INVALID_ARGUMENT,
    { ...invalid, field: 'keys' });
});

test('the cluster, and a keyspace from beginning to end', async () => {
  for (const node of [0, 1, 2]) {
    const status = await call(cluster[node], 'Status', {});
    assert.deepEqual([status.nodes_total, status.nodes_alive, status.healthy], [3, 3, true]);
    const { nodes } = await call(cluster[node], 'ListNodes', {});
    assert.deepEqual(nodes.map((n) => [n.name, n.liveness]), ['n1', 'n2', 'n3'].map((n) => [n, 'LIVENESS_ALIVE']));
  }
  const ring = await call(cluster[1], 'GetRing', {});
  assert.equal(ring.partitions.length, 64);
  const name = 'from-node-js';
  await call(cluster[0], 'CreateKeyspace', { keyspace: { name, conflict: 'CONFLICT_LWW' } });
  const { keyspace } = await call(cluster[1], 'DescribeKeyspace', { name });
  assert.deepEqual([keyspace.n, keyspace.conflict], [3, 'CONFLICT_LWW']);
  const { context } = await put(1, 'k', 'first', { keyspace: name });
  await put(2, 'k', 'second', { keyspace: name, context });
  await put(0, 'k', 'third', { keyspace: name, context });
  assert.deepEqual(values(await get(1, 'k', { keyspace: name })), ['third']);
  const { keyspaces } = await call(cluster[2], 'ListKeyspaces', {});
  assert.ok(keyspaces.some((k) => k.name === name));
  await call(cluster[2], 'DropKeyspace', { name });
  await refused(get(0, 'k', { keyspace: name }), grpc.status.NOT_FOUND, { reason: 'KEYSPACE_NOT_FOUND' });
});

test('health', async () => {
  assert.equal((await call(health[0], 'Check', {})).status, 'SERVING');
  assert.equal((await call(health[1], 'Check', { service: 'coterie.v1.KeyValue' })).status, 'SERVING');
  await assert.rejects(call(health[0], 'Check', { service: 'nobody' }), { code: grpc.status.NOT_FOUND });
  const watch = health[2].Watch({});
  watch.on('error', () => {}); // the cancellation below
  const first = await new Promise((resolve) => watch.once('data', resolve));
  assert.equal(first.status, 'SERVING');
  watch.cancel();
});

for (const version of ['v1', 'v1alpha']) {
  test(`reflection ${version}`, async () => {
    const stub = client(loaded.grpc.reflection[version].ServerReflection, 0);
    const stream = stub.ServerReflectionInfo();
    const replies = [];
    const ended = new Promise((resolve, reject) => {
      stream.on('data', (reply) => replies.push(reply));
      stream.on('end', resolve);
      stream.on('error', reject);
    });
    stream.write({ list_services: '' });
    stream.write({ file_containing_symbol: 'coterie.v1.KeyValue' });
    stream.end();
    await ended;
    const services = replies[0].list_services_response.service.map((s) => s.name);
    for (const name of ['coterie.v1.KeyValue', 'coterie.v1.Cluster', 'grpc.health.v1.Health'])
      assert.ok(services.includes(name), name);
    const files = replies[1].file_descriptor_response.file_descriptor_proto;
    // What reflection gives is enough to make a client of.
    const set = loader.loadFileDescriptorSetFromObject({ file: files.map(decodeFile) });
    assert.ok(set['coterie.v1.KeyValue'].Put);
  });
}

function decodeFile(data) {
  const descriptor = require('protobufjs/ext/descriptor');
  return descriptor.FileDescriptorProto.toObject(descriptor.FileDescriptorProto.decode(data));
}

test('a deadline is kept', async () => {
  const started = Date.now();
  await assert.rejects(call(kv[0], 'Get', { key: bytes('k') }, -1), { code: grpc.status.DEADLINE_EXCEEDED });
  assert.ok(Date.now() - started < 10000);
});
