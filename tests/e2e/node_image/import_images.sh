#!/bin/sh
# Fills /var/lib/containerd with the images of an archive. Runs inside an image build, where nothing can be mounted.
set -eu

cat >/tmp/containerd.toml <<END
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
END
containerd --config /tmp/containerd.toml >/tmp/containerd.log 2>&1 &
server=$!
tries=100
until ctr version >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { cat /tmp/containerd.log; exit 1; }
    sleep 0.1
done
# The label is what makes an image visible to the kubelet.
ctr --namespace k8s.io images import --label io.cri-containerd.image=managed --all-platforms --no-unpack "$1"
kill "$server"
wait "$server" || true
