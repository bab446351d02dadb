//! Generated workspaces.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs_err::create_dir_all(folder).and_then(|()| fs_err::write(path, text)).map_err(|error| error.to_string())
}

/// So many images of so many steps in packages of ten, half of them on a common base. The first step of each has a file
/// of the workspace; see [`input`].
pub fn images(root: &Path, images: usize, steps: usize) -> Result<(), String> {
    write(&root.join("imgbuild.toml"), "")?;
    let base = "image(\n    name = \"base\",\n    source = scratch(),\n    steps = [mkdir(\"/etc\")],\n    exports = [],\n    visibility = [\"//visibility:public\"],\n)\n";
    write(&root.join("base/BUILD.star"), base)?;
    for package in 0..images.div_ceil(10) {
        let mut text = String::new();
        for image in package * 10..(package * 10 + 10).min(images) {
            let start = if image % 2 == 0 { "base = \"//base\"" } else { "source = scratch()" };
            let _ = writeln!(text, "image(\n    name = \"image{image}\",\n    {start},\n    steps = [");
            write(&root.join(input(image)), &format!("{image}\n"))?;
            let _ = writeln!(text, "        file(\"image{image}.conf\", \"/etc/file0\", mode = \"0644\"),");
            for step in 1..steps {
                let _ = writeln!(
                    text,
                    "        file(content = \"{image} {step}\", dest = \"/etc/file{step}\", mode = \"0644\"),"
                );
            }
            let _ = writeln!(text, "    ],\n    exports = [tarball(compression = \"none\")],\n)");
        }
        write(&root.join(format!("packages/p{package}/BUILD.star")), &text)?;
    }
    Ok(())
}

/// The input of an image's first step, from the workspace's root.
pub fn input(image: usize) -> String {
    format!("packages/p{}/image{image}.conf", image / 10)
}

/// A minimal Debian.
pub fn debian(root: &Path) -> Result<(), String> {
    write(&root.join("imgbuild.toml"), "")?;
    let text =
        "image(name = \"base\", source = debian(\"stable\"), exports = [tarball(compression = \"none\")])\n";
    write(&root.join("BUILD.star"), text)
}

/// Ten steps on busybox, the last of which says `change`.
pub fn busybox_steps(root: &Path, change: usize) -> Result<(), String> {
    write(&root.join("imgbuild.toml"), "")?;
    busybox(root)?;
    let mut text = String::from(
        "image(\n    name = \"steps\",\n    source = scratch(),\n    steps = [\n        file(\"tree\", \"/\"),\n",
    );
    for step in 0..9 {
        let _ = writeln!(text, "        shell(\"echo {step} > /{step}\"),");
    }
    let _ = writeln!(text, "        shell(\"true {change}\"),\n    ],\n    exports = [],\n)");
    text.push_str("image_test(name = \"wanted\", image = \":steps\", checks = [file_exists(\"/8\")])\n");
    let text = text.replace("    exports = [],\n)", "    exports = [tarball(compression = \"none\")],\n)");
    write(&root.join("BUILD.star"), &text)
}

/// The same steps for buildah.
pub fn containerfile(root: &Path, change: usize) -> Result<PathBuf, String> {
    let mut text = String::from("FROM scratch\nCOPY tree /\n");
    for step in 0..9 {
        let _ = writeln!(text, "RUN echo {step} > /{step}");
    }
    let _ = writeln!(text, "RUN true {change}");
    let path = root.join("Containerfile");
    write(&path, &text)?;
    Ok(path)
}

fn busybox(root: &Path) -> Result<(), String> {
    let bin = root.join("tree/bin");
    if bin.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(&bin).map_err(|error| error.to_string())?;
    std::fs::copy("/bin/busybox", bin.join("busybox")).map_err(|_| "there is no /bin/busybox".to_owned())?;
    for name in ["sh", "echo", "true"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// An image with one large input.
pub fn large_input(root: &Path, size: usize) -> Result<(), String> {
    write(&root.join("imgbuild.toml"), "")?;
    write(
        &root.join("BUILD.star"),
        "image(name = \"large\", source = scratch(), steps = [file(\"large.bin\", \"/large.bin\")])\n",
    )?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    fs_err::write(root.join("large.bin"), bytes).map_err(|error| error.to_string())
}

/// The mirror that the host's apt uses.
pub fn mirror() -> Option<String> {
    let output = std::process::Command::new("apt-get")
        .args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"])
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).lines().find(|line| !line.contains("security")).map(str::to_owned)
}
