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

printf '\n%s started\n' "$MARK"
mount -t tmpfs tmpfs /run && mkdir /run/from /run/to || end 'failed: mount -t tmpfs'

device=
for disk in /sys/block/vd*; do
    if [ "$(cat "$disk/serial")" = "$SERIAL" ]; then
        device=/dev/${disk##*/}$PARTITION
    fi
done
[ -b "$device" ] || end 'failed: looking for the disk'

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
# Without what is mounted on it.
mount --bind / /run/from || end 'failed: mount --bind'
# `--archive` would not say that attributes are lost.
cp -dR --preserve=mode,ownership,timestamps,links,xattr --sparse=always /run/from/. /run/to/ || end 'failed: cp'
for path in $EXTRA; do
    rm -r "/run/to/$path" || end 'failed: rm'
done
touch -r /run/from /run/to || end 'failed: touch'
umount /run/to || end 'failed: umount'
sync
end done
