#!/bin/sh
# kafka.sh run: the broker. NODE_IP is the Kubernetes node's address, under which clients outside the cluster find it.
# kafka.sh prepare: while the image is built, formats the storage and archives the classes, so that a start takes
# two seconds instead of five.
set -eu

home=/opt/kafka
data=/data
archive=$home/classes.jsa
# Sorted by the shell: with Java's own lib/* the order is the file system's, and the archive fits only one order.
classpath=$(printf '%s:' "$home"/lib/*.jar)

kafka() {
    exec java -Xmx384m -XX:+UseSerialGC -Djava.awt.headless=true \
        "-Dlog4j2.configurationFile=$home/log4j2.properties" "$@"
}

write_settings() { # to: the settings of the image and the addresses that only the pod knows
    {
        cat "$home/server.properties"
        printf 'advertised.listeners=INSIDE://localhost:9091,CLUSTER://kafka.kafka.svc:9092,'
        printf 'SASL://kafka.kafka.svc:9094,NODE://%s:30092\n' "${NODE_IP:-127.0.0.1}"
    } >"$1"
}

prepare() {
    settings=/tmp/server.properties
    log=/tmp/kafka.log
    mkdir -p "$data" "$home/formatted"
    write_settings $settings
    (kafka -cp "$classpath" kafka.tools.StorageTool format --cluster-id Zm9yZWJheS1lMmUtdGVzdA --config $settings)
    cp -R "$data/." "$home/formatted/"
    (kafka "-XX:ArchiveClassesAtExit=$archive" -cp "$classpath" kafka.Kafka $settings) >$log 2>&1 &
    broker=$!
    tries=0
    until grep -q 'Kafka Server started' $log; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 $broker; then
            cat $log
            exit 1
        fi
        sleep 0.2
    done
    kill $broker
    wait $broker || true # 143: ended by the signal, as asked
    test -s "$archive"
    rm -rf "$data" $settings $log
    chmod -R a+rX "$home"
}

run() {
    [ -e "$data/meta.properties" ] || cp -R "$home/formatted/." "$data/"
    write_settings /tmp/server.properties
    kafka "-XX:SharedArchiveFile=$archive" -Xshare:auto -cp "$classpath" kafka.Kafka /tmp/server.properties
}

"$1"
