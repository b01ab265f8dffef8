#!/bin/sh
# Starts a machine in new mount, PID, UTS and IPC namespaces: a throw-away layer over the prepared root.
# start.sh FOLDER ROOT STANDIN SIZE_MB
set -eu

dir=$1
prepared=$2
standin=$3
size=$4
# The PID as the outside sees it: this /proc is still the outside's.
read -r pid _ </proc/self/stat

mount -t tmpfs -o "size=${size}m,mode=755" machine "$dir"
root=$dir/root
mkdir "$dir/upper" "$dir/work" "$root"
mount -t overlay -o "lowerdir=$prepared,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"
touch "$root/usr/local/lib/standin/standin"
mount --bind "$standin" "$root/usr/local/lib/standin/standin"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root/run/lock" "$root/run/systemd/system"
mount -t tmpfs -o mode=755 sys "$root/sys"
mkdir -p "$root/sys/kernel/btf"
touch "$root/sys/kernel/btf/vmlinux"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
hostname machine
echo "$pid"
exec chroot "$root" /usr/local/lib/standin/init
