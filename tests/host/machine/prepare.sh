#!/bin/sh
# Makes the root that every machine starts from: a minimal Debian with two users, of whom one may use sudo, and the
# stand-ins in place of what a namespace cannot have. Runs once; the folder is then only read.
# prepare.sh FOLDER
set -eu

root=$1
debootstrap --variant=minbase --include=ca-certificates,gpg,sudo bookworm "$root" http://deb.debian.org/debian

mkdir -p "$root/etc/standin" "$root/usr/local/lib/standin" "$root/run/lock"
for name in systemctl journalctl uname; do
	ln -sf /usr/local/lib/standin/standin "$root/usr/bin/$name"
done
ln -sf standin "$root/usr/local/lib/standin/init"

for user in deploy nosudo; do
	chroot "$root" useradd --create-home --shell /bin/sh "$user"
done
echo 'deploy ALL=(root) NOPASSWD: /bin/sh' >"$root/etc/sudoers.d/deploy"
chmod 0440 "$root/etc/sudoers.d/deploy"

echo 127.0.0.1 localhost machine >"$root/etc/hosts"
echo machine >"$root/etc/hostname"
rm -f "$root/etc/apt/sources.list" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*_*
cat >"$root/etc/apt/apt.conf.d/90machine" <<'END'
Acquire::Languages "none";
Acquire::http::Proxy "DIRECT";
END
