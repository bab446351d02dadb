//! VHD of fixed size: the raw bytes and a footer (Microsoft's Virtual Hard Disk Image Format Specification 1.0).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Conversion, units};

/// The largest that Hyper-V and Azure take: 2040 GiB.
pub(super) const LARGEST: u64 = 2040 << 30;

/// The start of 2000, from which VHD counts seconds.
const ERA: i64 = 946_684_800;

pub(super) fn write(image: &File, size: u64, conversion: &Conversion<'_>, sink: &File) -> io::Result<()> {
    units::copy(image, sink, size)?;
    sink.write_all_at(&footer(size, conversion), size)
}

fn footer(size: u64, conversion: &Conversion<'_>) -> [u8; 512] {
    let mut footer = [0; 512];
    let time = u32::try_from(conversion.epoch.saturating_sub(ERA).max(0)).unwrap_or(u32::MAX);
    let (cylinders, heads, sectors) = geometry(size / 512);
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"conectix");
    put(8, &2u32.to_be_bytes());
    put(12, &0x0001_0000u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes());
    put(24, &time.to_be_bytes());
    // Readers take the size from the geometry, which is rounded, unless one of a few programs made the file.
    put(28, b"win ");
    put(32, &0x000a_0000u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    put(60, &2u32.to_be_bytes());
    put(68, conversion.identity.uuid("vhd").as_bytes());
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

/// Cylinders, heads and sectors of a track, as the appendix of the specification reckons them.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let sectors = sectors.min(65535 * 16 * 255);
    let (per_track, heads, tracks);
    if sectors >= 65535 * 16 * 63 {
        (per_track, heads, tracks) = (255, 16, sectors / 255);
    } else {
        let mut track = 17;
        let mut count = sectors / track;
        let mut head = count.div_ceil(1024).max(4);
        if count >= head * 1024 || head > 16 {
            (track, head) = (31, 16);
            count = sectors / track;
        }
        if count >= head * 1024 {
            (track, head) = (63, 16);
            count = sectors / track;
        }
        (per_track, heads, tracks) = (track, head, count);
    }
    ((tracks / heads) as u16, heads as u8, per_track as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_hold_most_of_the_disk() {
        for mib in [1u64, 64, 600, 4096, 127 << 10, 2040 << 10] {
            let sectors = mib << 11;
            let (cylinders, heads, per_track) = geometry(sectors);
            let held = u64::from(cylinders) * u64::from(heads) * u64::from(per_track);
            assert!(held <= sectors && held * 100 >= sectors.min(65535 * 16 * 255) * 95, "{mib} MiB: {held}");
        }
    }
}
