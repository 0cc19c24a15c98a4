#!/bin/sh
# Runs inside the image build, in the stage that becomes the system of both images: what a running program never needs goes.
set -eu

stdlib=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$stdlib"/ensurepip "$stdlib"/idlelib "$stdlib"/lib2to3 "$stdlib"/pydoc_data "$stdlib"/test "$stdlib"/tkinter \
    "$stdlib"/turtledemo "$stdlib"/config-* /usr/share/python-wheels
# The one that a public Python image installs, and Debian's.
for packages in "$stdlib"/site-packages /usr/local/lib/python3*/dist-packages /usr/lib/python3/dist-packages; do
    rm -rf "$packages"/pip "$packages"/pip-* "$packages"/setuptools* "$packages"/pkg_resources "$packages"/wheel*
done
rm -f /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* /usr/bin/pip*
rm -rf /usr/share/doc/* /usr/share/info/* /usr/share/locale/* /usr/share/man/* /var/cache/* /var/lib/apt/lists/* /var/log/* \
    "${HOME:-/nonexistent}"/.cache
# No program may change its user.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
python3 -m compileall -q --invalidation-mode unchecked-hash -x site-packages "$stdlib"
# A name and a home for the number; without them some libraries fail when they look for their settings.
grep -q ':65532:' /etc/passwd || echo 'forebay:x:65532:65532:forebay:/tmp:/usr/sbin/nologin' >>/etc/passwd
grep -q ':65532:' /etc/group || echo 'forebay:x:65532:' >>/etc/group
find /tmp -mindepth 1 -delete
