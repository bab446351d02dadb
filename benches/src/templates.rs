//! Packer's templates: reading them, and a build in which nothing has changed, against the real program.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::measure::{measure, pair, ratio};
use crate::{Setup, run, which};

/// A template of 300 lines that Debian's version of Packer understands too.
fn template() -> String {
    let mut text = String::from("variable \"name\" { default = \"web\" }\n");
    for number in 0..10 {
        let _ = write!(
            text,
            "variable \"v{number}\" {{\n  type    = string\n  default = \"value {number}\"\n}}\nsource \"file\" \"s{number}\" {{\n  target  = \"out/${{var.name}}-{number}.txt\"\n  content = \"${{upper(var.v{number})}} and ${{join(\",\", [for one in [1, 2, 3] : format(\"%d\", one)])}}\"\n}}\n"
        );
    }
    text.push_str("build {\n  sources = [\n");
    for number in 0..10 {
        let _ = writeln!(text, "    \"source.file.s{number}\",");
    }
    text.push_str("  ]\n");
    for number in 0..20 {
        let _ = write!(
            text,
            "  provisioner \"shell-local\" {{\n    environment_vars = [\"NUMBER={number}\"]\n    inline = [\n      \"echo {number} ${{var.v1}}\",\n      \"true\",\n    ]\n  }}\n"
        );
    }
    text.push_str("}\n");
    text
}

/// The bench.
pub fn templates(setup: &Setup) -> Result<(), String> {
    let write = |path: &Path, text: &str| fs_err::write(path, text).map_err(|error| error.to_string());
    let folder = setup.folder.path().join("templates");
    let many = folder.join("many");
    fs_err::create_dir_all(&many).map_err(|error| error.to_string())?;
    let cache = setup.folder.path().join("templates-cache");
    write(&folder.join("t.pkr.hcl"), &template())?;
    let validate = || setup.imgbuild(&folder, &cache, &["validate", "t.pkr.hcl"]);
    run(validate())?;
    for number in 0..500 {
        let text = format!(
            "variable \"v{number}\" {{ default = \"{number}\" }}\nsource \"file\" \"s{number}\" {{\n  target  = \"out/{number}.txt\"\n  content = \"${{upper(var.v{number})}}\"\n}}\nbuild {{\n  sources = [\"source.file.s{number}\"]\n  provisioner \"shell-local\" {{\n    inline = [\"echo ${{var.v{number}}}\"]\n  }}\n}}\n"
        );
        write(&many.join(format!("{number}.pkr.hcl")), &text)?;
    }
    let lines = template().lines().count();
    println!("  validate a template of {lines} lines   {}", measure(20, validate)?);
    println!(
        "  validate a folder of 500 templates   {}",
        measure(5, || setup.imgbuild(&folder, &cache, &["validate", "many"]))?
    );
    run(setup.imgbuild(&folder, &cache, &["build", "t.pkr.hcl"]))?;
    println!(
        "  build of 10 sources and 200 steps, nothing to do   {}",
        measure(10, || setup.imgbuild(&folder, &cache, &["build", "t.pkr.hcl"]))?
    );
    if which("packer").is_none() {
        println!("  packer is not installed");
        return Ok(());
    }
    let packer = |verb: &str| {
        let mut command = Command::new("packer");
        command.args([verb, "t.pkr.hcl"]).current_dir(&folder).env("CHECKPOINT_DISABLE", "1");
        command.env("PACKER_CACHE_DIR", folder.join("packer-cache"));
        command
    };
    println!("  validate, against `packer validate`   {}", ratio(&pair(5, validate, || packer("validate"))?));
    println!(
        "  build, against `packer build`   {}",
        ratio(&pair(3, || setup.imgbuild(&folder, &cache, &["build", "t.pkr.hcl"]), || packer("build"))?)
    );
    Ok(())
}
