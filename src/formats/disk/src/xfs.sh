# The first process of a machine that makes an xfs file system and copies to it what it runs from itself.
# Set before: MARK, SERIAL, PARTITION, UUID, LABEL, EXTRA (paths that are not copied, one a word).
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
exec </dev/null

# Says it until the machine is ended, since a message of the kernel may tear a line.
end() {
    while :; do
        printf '\n%s %s\n' "$MARK" "$1"
        sleep 1
    done
}

for _ in 1 2 3; do
    printf '\n%s started\n' "$MARK"
done
mount -t tmpfs tmpfs /run && mkdir /run/from /run/to || end 'failed: mount -t tmpfs'

device= system=
for disk in /sys/block/vd*; do
    if [ "$(cat "$disk/serial")" = "$SERIAL" ]; then
        device=/dev/${disk##*/}$PARTITION
    else
        system=/dev/${disk##*/}
    fi
done
[ -b "$device" ] && [ -b "$system" ] || end 'failed: looking for the disks'
# It would leave attributes out that the image has.
if [ -e /etc/xattr.conf ]; then
    : >/run/xattr.conf
    mount --bind /run/xattr.conf /etc/xattr.conf || end 'failed: mount --bind'
fi

set -- -q -f -m uuid="$UUID"
# Later versions switch on by themselves what GRUB refuses to read: 2.06 all three, 2.12 the last two. Older ones do not know
# them; those that `mkfs.xfs` knows it has in its usage.
usage=$(mkfs.xfs 2>&1)
for feature in i:nrext64 i:exchange n:parent; do
    case $usage in
    *"${feature#*:}=0|1"*) set -- "$@" "-${feature%:*}" "${feature#*:}=0" ;;
    esac
done
if [ -n "$LABEL" ]; then
    set -- "$@" -L "$LABEL"
fi
mkfs.xfs "$@" "$device" || end 'failed: mkfs.xfs'
mount -t xfs "$device" /run/to || end 'failed: mount -t xfs'
# The disk itself: the initial RAM disk may have put something else, or more, at the root.
mount -t ext4 -o ro "$system" /run/from || end 'failed: mount -t ext4'
# `--archive` would not say that attributes are lost.
cp -dR --preserve=mode,ownership,timestamps,links,xattr --sparse=always /run/from/. /run/to/ || end 'failed: cp'
for path in $EXTRA; do
    rm -r "/run/to/$path" || end 'failed: rm'
done
touch -r /run/from /run/to || end 'failed: touch'
# Of what could not be written nothing else tells.
sync -f /run/to || end 'failed: sync'
umount /run/to || end 'failed: umount'
end done
