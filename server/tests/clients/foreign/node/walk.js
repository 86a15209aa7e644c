// kafkajs: topics, producing with gzip and headers, a group, its offsets. By hand:
// BOOTSTRAP=localhost:9092 NODE_PATH=target/node_modules node walk.js
"use strict";
const assert = require("node:assert");
const { Kafka, CompressionTypes, logLevel } = require("kafkajs");

const run = process.env.RUN || String(Date.now());
const kafka = new Kafka({ clientId: "walk-node", brokers: [process.env.BOOTSTRAP || "localhost:9092"], logLevel: logLevel.NOTHING });
let passed = 0;
let failed = 0;

async function check(name, body) {
  try {
    await body();
    passed++;
    console.log(`ok - node: ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok - node: ${name}\n# ${String(error.stack).replaceAll("\n", "\n# ")}`);
  }
}

async function until(condition, seconds, otherwise) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(otherwise);
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

async function main() {
  const topic = `node-${run}`;
  const group = `node-group-${run}`;
  const admin = kafka.admin();
  const seen = [];
  await check("connect", () => admin.connect());
  await check("create a topic", async () => {
    assert.strictEqual(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true }), true);
    assert.ok((await admin.listTopics()).includes(topic));
  });
  await check("produce, plain and gzip", async () => {
    const producer = kafka.producer({ idempotent: true });
    await producer.connect();
    await producer.send({ topic, acks: -1, messages: [{ key: "a", value: "plain", headers: { trace: "abc" } }, { key: "a", value: null }] });
    await producer.send({ topic, acks: -1, compression: CompressionTypes.GZIP, messages: [{ key: "a", value: "squeezed ".repeat(50) }] });
    await producer.disconnect();
  });
  const consumer = kafka.consumer({ groupId: group, heartbeatInterval: 500 });
  await check("consume in a group, in order", async () => {
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => void seen.push(message) });
    await until(() => seen.length >= 3, 20, `${seen.length} of 3 messages came`);
    assert.strictEqual(seen[0].value.toString(), "plain");
    assert.strictEqual(seen[0].headers.trace.toString(), "abc");
    assert.strictEqual(seen[1].value, null);
    assert.strictEqual(seen[2].value.toString(), "squeezed ".repeat(50));
  });
  await check("describe the group", async () => {
    const { groups } = await admin.describeGroups([group]);
    assert.strictEqual(groups[0].state, "Stable");
    assert.strictEqual(groups[0].members.length, 1);
  });
  await check("its offsets are committed when it leaves", async () => {
    await consumer.disconnect();
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
    assert.strictEqual(partitions.reduce((sum, p) => sum + Math.max(0, Number(p.offset)), 0), 3);
  });
  await check("delete group and topic", async () => {
    await admin.deleteGroups([group]);
    await admin.deleteTopics({ topics: [topic] });
  });
  await admin.disconnect();
  console.log(`# node: ${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

main().catch((error) => {
  console.log(`not ok - node: ${error}`);
  process.exit(1);
});
