#!/bin/sh
# Make Onward's topics where they are missing; what is there is left as it is. Run by the service `topics` of
# compose.yaml, and fit for any cluster:
#
#     BOOTSTRAP_SERVERS=kafka:9092 [PARTITIONS=4] [REPLICAS=1] [COMMAND_CONFIG=file] create-topics.sh
#
# COMMAND_CONFIG names a file with Kafka's client properties, for a cluster that asks who you are.
set -eu

PATH="$PATH:/opt/kafka/bin"
: "${BOOTSTRAP_SERVERS:?where is the broker? host:port}"
PARTITIONS=${PARTITIONS:-4}
REPLICAS=${REPLICAS:-1}

create() {
    topic=$1
    shift
    kafka-topics.sh --bootstrap-server "$BOOTSTRAP_SERVERS" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
        --create --if-not-exists --topic "$topic" \
        --partitions "$PARTITIONS" --replication-factor "$REPLICAS" "$@"
}

# The same number of partitions everywhere: a checkpoint is kept in the partition of its events, and their number must
# not change later, because a key would then move to a partition whose worker has never seen its series.
create "${EVENTS_TOPIC:-onward.events}"
create "${LABELS_TOPIC:-onward.labels}"
create "${PREDICTIONS_TOPIC:-onward.predictions}"
# Long enough to be looked at after a holiday.
create "${DEAD_LETTERS_TOPIC:-onward.dead-letters}" --config retention.ms=2592000000
# Never deleted, only compacted: it is the models' memory. What is overwritten is dropped within minutes, because a
# restart reads all that is kept; the size is that of the largest series' state.
create "${CHECKPOINTS_TOPIC:-onward.checkpoints}" \
    --config cleanup.policy=compact \
    --config max.message.bytes=16777216 \
    --config min.cleanable.dirty.ratio=0.2 \
    --config segment.ms=600000 \
    --config max.compaction.lag.ms=3600000
