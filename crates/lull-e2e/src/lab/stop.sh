# What runs in a guest before it reboots or goes down: users of shared disks first, their daemons then. Whoever unmounts a
# disk whose target is away waits; after some time its daemon ends all the same, and fails what it holds.
killall -q -KILL lull-lab-files
unmounting=
for place in $(sed -nE 's/^\/dev\/(nbd|ublkb|loop)[0-9]+ (\/[^ ]+) .*/\2/p' /proc/mounts); do
    # Who is killed in the middle of a call still has the place until that has ended.
    (while pidof lull-lab-files >/dev/null; do usleep 20000; done; exec umount "$place") &
    unmounting="$unmounting $!"
done
waited=0
while [ -n "$unmounting" ] && kill -0 $unmounting 2>/dev/null && [ $waited -lt 300 ]; do
    usleep 100000
    waited=$((waited + 1))
done
# What else shares disks, as it was told itself.
[ -e /etc/lab/stopping ] && sh /etc/lab/stopping
killall -q -TERM lull
waited=0
# Not for those who keep what a daemon has left. In braces is the name that a daemon has given itself.
while ps -o args | grep -qE '^(\{[^ ]*\} )?(/[^ ]*/)?lull (target|attach|initiator)' && [ $waited -lt 600 ]; do
    usleep 100000
    waited=$((waited + 1))
done
umount -a -r 2>/dev/null
