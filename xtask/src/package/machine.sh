# A clean Debian that runs systemd as its process 1, in namespaces of its own: $1 is the root, which is only
# read, $2 an empty folder, $3 the file that is given the number of process 1. Ends when that ends. All mounts
# belong to a namespace that ends with this script, however it ends. What it says goes to $3.log: a kill of process 1
# is how it usually ends, and unshare complains of it.
set -eu
exec 2>"$3.log"
mount --make-rprivate /
mount -t tmpfs -o mode=755 lull-package "$2"
cd "$2"
mkdir upper work root cgroup
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" root
mount -t cgroup2 cgroup2 cgroup
# Folders that a run left behind that was killed.
find cgroup -depth -path '*/lull-package-*' -type d -exec rmdir {} + 2>/dev/null || true
mkdir "cgroup/lull-package-$$"
echo $$ >"cgroup/lull-package-$$/cgroup.procs"

code=0
setpriv --pdeathsig KILL unshare --pid --fork --kill-child --cgroup --uts --ipc --net --mount sh -eu -s "$3" <<'INNER' || code=$?
read -r pid rest </proc/self/stat
cd root
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir -p dev/pts dev/shm
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
hostname lull-package
echo "$pid" >"$1.partial"
mv "$1.partial" "$1"
# Not chroot alone: units with mounts of their own would see paths of the host.
pivot_root . mnt
exec env -i container=lull PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . sh -c \
	'umount --lazy /mnt && exec /lib/systemd/systemd --log-target=journal systemd.mask=console-getty.service' </dev/null
INNER

echo $$ >cgroup/cgroup.procs
find "cgroup/lull-package-$$" -depth -type d -exec rmdir {} +
exit "$code"
