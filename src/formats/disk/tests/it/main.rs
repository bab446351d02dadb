//! Writes disks and has them judged by the tools of the field: e2fsck, debugfs, btrfs, fsck.vfat, grub-mkimage, sgdisk, sfdisk, qemu-img, and
//! a machine that boots one. A tool that is missing skips its test with a word.

mod bios;
mod boot_files;
mod btrfs;
mod debian;
mod disk;
mod ext4;
mod fixture;
mod formats;
mod overlays;
mod view;
mod xfs;
