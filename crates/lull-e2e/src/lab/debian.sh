#!/bin/busybox sh
# The first that runs in a guest that is a whole Debian: what its own initial RAM disk would have done, and what this
# guest has beside all others. Its system is on a disk of its own, and goes on with systemd.
/bin/busybox --install -s /bin
mkdir -p /system
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_blk virtio_net virtio_console nbd vsock; do
    modprobe -q $module
done
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" = system ] && mount -t ext4 "/dev/${disk##*/}" /system
done
mkdir -p /system/lib/modules
cp -a /lib/modules/. /system/lib/modules/
mkdir -p /system/usr/local/bin
cp /bin/lull-lab-agent /bin/lull-lab-files /system/usr/local/bin/
cp -a /own/. /system/
cp /etc/hostname /etc/hosts /system/etc/
: >/system/etc/fstab
while read -r name; do
    mkdir -p "/system/$name"
    echo "/dev/disk/by-id/virtio-$name /$name ext4 defaults 0 2" >>/system/etc/fstab
done </etc/lab/mounts
card() {
    [ -e "/sys/class/net/$1" ] && printf 'auto %s\niface %s inet static\naddress %s/24\n' "$1" "$1" "$2"
}
{
    printf 'auto lo\niface lo inet loopback\n'
    card eth0 "$(cat /etc/lab/address)"
    card eth1 10.0.2.15
} >/system/etc/network/interfaces
umount /proc /sys
exec switch_root /system /sbin/init
