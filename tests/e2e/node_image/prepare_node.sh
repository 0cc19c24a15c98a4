#!/bin/sh
# Turns Debian with kind's files into a node: the steps of kind's own base image that are not about installing.
set -eu

# kind looks for these where its own builds are
for program in containerd ctr containerd-shim-runc-v2; do
    ln -s "/usr/bin/$program" /usr/local/bin/
done
mkdir -p /opt/cni /etc/kubernetes/manifests
ln -s /usr/lib/cni /opt/cni/bin
ctr oci spec | jq 'del(.process.rlimits)' >/etc/containerd/cri-base.json

# Without CAP_SYS_RESOURCE nothing can be put before the node itself in the kernel's choice of whom to kill.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
grep -q 'restrict_oom_score_adj = true' /etc/containerd/config.toml
# The kubelet refuses to run on the old kind of control groups unless told so.
printf '%s --fail-cgroupv1=false\n' "$(cat /etc/default/kubelet)" >/etc/default/kubelet

# Nothing of a machine's start: no device manager, no consoles, no clean-up of /tmp under kind's feet.
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
    /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
    /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/* \
    /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl*
echo 'ReadKMsg=no' >>/etc/systemd/journald.conf
ln -sf /lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service # it would change the kernel of the whole machine
