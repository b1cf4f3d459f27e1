# The first that runs in a guest: what a system around the daemons would have done.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run /tmp
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
hostname -F /etc/hostname
for module in virtio_pci virtio_blk virtio_net virtio_console; do
    modprobe -q $module
done
# What services say goes out by this line, byte for byte.
stty -F /dev/ttyS1 raw -echo
ip link set lo up
ip addr add "$(cat /etc/lab/address)/24" dev eth0
ip link set eth0 up
if [ -e /sys/class/net/eth1 ]; then
    # The way from and to the host.
    ip addr add 10.0.2.15/24 dev eth1
    ip link set eth1 up
fi
for disk in /sys/block/vd*; do
    [ -e "$disk/serial" ] || continue
    name=$(cat "$disk/serial")
    ln -s "/dev/${disk##*/}" "/dev/$name"
    if grep -qx "$name" /etc/lab/mounts; then
        mkdir -p "/$name"
        mount -t ext4 "/dev/$name" "/$name"
    fi
done
for service in /etc/lab/services/*; do
    [ -e "$service" ] && setsid sh "$service" </dev/null >/dev/ttyS1 2>&1 &
done
