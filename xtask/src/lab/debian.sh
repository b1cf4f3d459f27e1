# Makes the disk of a guest that is a whole Debian: $1 is a minimal root, which is only read, $2 the folder where a root
# with more packages is kept, $3 the package of Lull, $4 the image. All mounts belong to a namespace that ends with this
# script.
set -eu
mount --make-rprivate /
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
more="systemd-sysv dbus udev kmod ifupdown iproute2 polkitd adduser nbd-client e2fsprogs"
if [ ! -d "$2" ]; then
	rm -rf "$2.partial"
	cp -a "$1" "$2.partial"
	mount -t proc proc "$2.partial/proc"
	# Nothing is started here.
	printf '#!/bin/sh\nexit 101\n' >"$2.partial/usr/sbin/policy-rc.d"
	chmod +x "$2.partial/usr/sbin/policy-rc.d"
	chroot "$2.partial" apt-get -qq update
	# shellcheck disable=SC2086
	chroot "$2.partial" apt-get -qq -y --no-install-recommends install $more
	chroot "$2.partial" apt-get -qq clean
	umount "$2.partial/proc"
	mv "$2.partial" "$2"
fi
place=$(mktemp -d)
mount -t tmpfs -o mode=755 lull-lab "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$place/upper,workdir=$place/work" "$place/root"
cd "$place/root"
cp "$3" tmp/lull.deb
chroot . dpkg --install /tmp/lull.deb
rm -rf tmp/lull.deb usr/sbin/policy-rc.d usr/share/doc usr/share/locale var/lib/apt/lists var/cache/apt
mkdir -p var/log/journal etc/systemd/journald.conf.d
# What the journal says is seen from outside too.
printf '[Journal]\nStorage=persistent\nForwardToConsole=yes\nTTYPath=/dev/ttyS1\nMaxLevelConsole=info\n' \
	>etc/systemd/journald.conf.d/lab.conf
cat >etc/systemd/system/lull-lab-agent.service <<'UNIT'
[Unit]
Description=Carries out what the test outside orders
[Service]
ExecStart=/usr/local/bin/lull-lab-agent
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
chroot . systemctl --quiet enable lull-lab-agent
chroot . systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer getty@tty1.service serial-getty@ttyS0.service systemd-random-seed.service
rm -f "$4.partial"
truncate --size 2G "$4.partial"
mkfs.ext4 -q -F -O ^has_journal -d . "$4.partial"
mv "$4.partial" "$4"
cd /
umount -l "$place/root" "$place"
rmdir "$place"
