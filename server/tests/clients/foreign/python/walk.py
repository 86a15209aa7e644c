"""kafka-python and aiokafka: produce, consume, a group. By hand: BOOTSTRAP=localhost:9092 python walk.py"""

import asyncio
import logging
import os
import sys
import time
import traceback

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

BOOTSTRAP = os.environ.get("BOOTSTRAP", "localhost:9092")
RUN = os.environ.get("RUN", str(int(time.time())))
TOPIC = f"python-{RUN}"
results = []


def check(name, body):
    try:
        body()
        print(f"ok - python: {name}", flush=True)
        results.append(True)
    except Exception:
        print(f"not ok - python: {name}\n# " + traceback.format_exc().replace("\n", "\n# "), flush=True)
        results.append(False)


def create():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic(TOPIC, 2, 1), NewTopic(TOPIC + "-aio", 1, 1)])
    assert TOPIC in admin.list_topics()
    admin.close()


def kafka_python():
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", compression_type="gzip")
    futures = [producer.send(TOPIC, key=b"k", value=b"value %d" % i, headers=[("trace", b"abc")]) for i in range(100)]
    producer.flush(20)
    assert [f.get(10).offset for f in futures] == list(range(100))
    producer.close(5)
    consumer = KafkaConsumer(TOPIC, bootstrap_servers=BOOTSTRAP, group_id=f"python-group-{RUN}", auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=20000)
    records = [next(consumer) for _ in range(100)]
    assert [r.value for r in records] == [b"value %d" % i for i in range(100)]
    assert records[0].headers == [("trace", b"abc")]
    consumer.commit()
    assert consumer.committed(TopicPartition(TOPIC, records[0].partition)) == 100
    consumer.close()


async def aiokafka_walk():
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for i in range(20):
            await producer.send_and_wait(TOPIC + "-aio", b"value %d" % i)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(TOPIC + "-aio", bootstrap_servers=BOOTSTRAP, group_id=f"aio-group-{RUN}", auto_offset_reset="earliest")
    await consumer.start()
    try:
        for i in range(20):
            record = await asyncio.wait_for(consumer.getone(), 20)
            assert record.value == b"value %d" % i
        await consumer.commit()
    finally:
        await consumer.stop()


def delete():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    groups = {g[0] for g in admin.list_consumer_groups()}
    assert f"python-group-{RUN}" in groups, groups
    admin.delete_topics([TOPIC, TOPIC + "-aio"])
    admin.close()


logging.disable(logging.CRITICAL)
check("kafka-python creates topics", create)
check("kafka-python produces and consumes in a group", kafka_python)
check("aiokafka produces and consumes in a group", lambda: asyncio.run(aiokafka_walk()))
check("kafka-python lists groups and deletes topics", delete)
print(f"# python: {results.count(True)} passed, {results.count(False)} failed")
sys.exit(0 if all(results) else 1)
