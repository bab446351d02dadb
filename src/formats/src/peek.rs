//! A few small files of an image, read from its layers without unpacking any.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use fs_err::File;
use tar::EntryType;

use crate::oci_read::{Layout, ReadError, StoredImage, StoredLayer};
use crate::tar_read::TarReader;
use crate::unpack::{Packing, UnpackError, tree_path};

/// No file that is read this way is larger.
const LARGEST: u64 = 64 << 20;

/// Files by path, without a leading slash.
type Files = BTreeMap<String, Vec<u8>>;

/// The regular files of an image that `wanted` says yes to, by path without a leading slash; links are not followed.
///
/// Blobs are taken as they are: whoever put them into the layout has verified them.
///
/// # Errors
/// If a layer is not there or damaged, or if a wanted file has more than 64 MiB.
pub fn read_files(
    layout: &Layout,
    image: &StoredImage,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Files, ReadError> {
    let mut files = Files::new();
    for layer in &image.layers {
        let path = layout.blob_path(&layer.blob);
        let failed = |source| ReadError::Io { path: path.clone(), source };
        let mut file = File::open(&path).map_err(failed)?;
        let mut start = Vec::new();
        (&mut file).take(6).read_to_end(&mut start).map_err(failed)?;
        let packing = Packing::detect(&start);
        let tar = packing.reader(io::Cursor::new(start).chain(file)).map_err(failed)?;
        read_layer(tar, layer, &mut files, wanted)?;
    }
    Ok(files)
}

fn read_layer(
    tar: impl Read,
    layer: &StoredLayer,
    files: &mut Files,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), ReadError> {
    let damaged = |source: UnpackError| ReadError::Unpack { blob: layer.blob, source };
    let mut archive = TarReader::new(BufReader::with_capacity(256 << 10, tar));
    // What a layer removes is what those below it have, wherever in the archive that stands.
    let mut added = Files::new();
    while let Some(head) = archive.next().map_err(damaged)? {
        let path = tree_path(&head.path).map_err(damaged)?;
        let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let kind = head.header.entry_type();
        if name == ".wh..wh..opq" {
            remove_below(files, folder);
        } else if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = if folder.is_empty() { gone.to_owned() } else { format!("{folder}/{gone}") };
            files.remove(&gone);
            remove_below(files, &gone);
        } else {
            files.remove(&path);
            added.remove(&path);
            if kind != EntryType::Directory {
                remove_below(files, &path);
                remove_below(&mut added, &path);
            }
            if matches!(kind, EntryType::Regular | EntryType::Continuous) && wanted(&path) {
                let mut bytes = Vec::new();
                let failed = |error| damaged(UnpackError::Archive(error));
                (&mut archive).take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
                if bytes.len() as u64 > LARGEST {
                    return Err(failed(io::Error::other(format!("`{path}` is larger than {LARGEST} bytes"))));
                }
                added.insert(path, bytes);
            }
        }
    }
    files.extend(added);
    Ok(())
}

fn remove_below(files: &mut Files, folder: &str) {
    let prefix = format!("{folder}/");
    files.retain(|path, _| !folder.is_empty() && !path.starts_with(&prefix));
}

#[cfg(test)]
mod tests {
    use imgbuild_digest::Digest;

    use super::*;

    fn layer(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let contents = if *kind == EntryType::Regular { text.as_bytes() } else { &[] };
            header.set_size(contents.len() as u64);
            if *kind == EntryType::Symlink {
                header.set_link_name(text).unwrap();
            }
            builder.append_data(&mut header, path, contents).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read(layers: &[&[(&str, EntryType, &str)]]) -> Vec<String> {
        let mut files = Files::new();
        let described = StoredLayer { blob: Digest::of(b""), diff_id: String::new() };
        for entries in layers {
            let tar = layer(entries);
            read_layer(&*tar, &described, &mut files, &|path| !path.starts_with("other")).unwrap();
        }
        files.iter().map(|(path, bytes)| format!("{path}={}", String::from_utf8_lossy(bytes))).collect()
    }

    #[test]
    fn upper_layers_replace_and_remove() {
        use EntryType::{Directory, Regular, Symlink};
        let base: &[(&str, EntryType, &str)] = &[
            ("./etc/a", Regular, "1"),
            ("etc/b", Regular, "2"),
            ("etc/d/x", Regular, "3"),
            ("other", Regular, "4"),
        ];
        assert_eq!(read(&[base]), ["etc/a=1", "etc/b=2", "etc/d/x=3"]);
        assert_eq!(
            read(&[base, &[("etc/a", Regular, "9"), ("etc/.wh.d", Regular, "")]]),
            ["etc/a=9", "etc/b=2"]
        );
        assert_eq!(read(&[base, &[("etc/b", Symlink, "a")]]), ["etc/a=1", "etc/d/x=3"]);
        assert_eq!(read(&[base, &[("etc/d", Regular, "f")]]), ["etc/a=1", "etc/b=2", "etc/d=f"]);
        assert_eq!(read(&[base, &[("etc", Directory, "")]]), ["etc/a=1", "etc/b=2", "etc/d/x=3"]);
        // The mark may stand behind what the layer puts there anew.
        let opaque: &[(&str, EntryType, &str)] =
            &[("etc/new", Regular, "5"), ("etc/.wh..wh..opq", Regular, "")];
        assert_eq!(read(&[base, opaque]), ["etc/new=5"]);
    }
}
