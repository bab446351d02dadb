//! The command line, case by case: what is refused, and with which words.

use super::*;

#[test]
fn what_is_wrong_with_flags_is_said() {
    for (line, message) in [
        ("build -forse x", "`-forse` is not a flag of `packer build`; hint: did you mean `-force`?"),
        (
            "build --onerror=ask x",
            "`--onerror` is not a flag of `packer build`; hint: did you mean `-on-error`?",
        ),
        (
            "build -parallel=true x",
            "`-parallel` is not a flag of `packer build`; hint: it is called `-parallel-builds=N` now; 1 is one build after the other",
        ),
        (
            "build -plan x",
            "`-plan` is not a flag of `packer build`; hint: `-plan` is a flag of `imgbuild build`, which takes all others as well",
        ),
        (
            "validate -timestamp-ui x",
            "`-timestamp-ui` is not a flag of `packer validate`; hint: it is a flag of `packer build`; `packer validate -help` lists those of `validate`",
        ),
        (
            "build -zzzzzzzzz x",
            "`-zzzzzzzzz` is not a flag of `packer build`; hint: `packer build -help` lists its flags",
        ),
        ("build -only", "the flag `-only` has no value; hint: write `-only=A,B`"),
        (
            "build -var x y",
            "`x` is not a value of `-var`: it has no `=`; hint: write `-var NAME=VALUE`; a value with spaces needs quotes, as `-var 'name=a b'`",
        ),
        (
            "build -color=maybe x",
            "`maybe` is not a value of `-color`: it is a switch; hint: write `-color`, `-color=true` or `-color=false`",
        ),
        (
            "build -color=never x",
            "`never` is not a value of `-color`: it is a switch; hint: write `-color`, `-color=true` or `-color=false`",
        ),
        (
            "build -force= x",
            "`` is not a value of `-force`: it is a switch; hint: write `-force`, `-force=true` or `-force=false`",
        ),
        (
            "build -parallel-builds=two x",
            "`two` is not a value of `-parallel-builds`: it is not a whole number; hint: write a whole number, as `-parallel-builds=2`",
        ),
        (
            "build -parallel-builds=99999999999999999999 x",
            "`99999999999999999999` is not a value of `-parallel-builds`: it is too large; hint: write a whole number, as `-parallel-builds=2`",
        ),
        (
            "build -on-error=clean x",
            "`clean` is not a value of `-on-error`: there is no such choice; hint: did you mean `cleanup`?",
        ),
        (
            "build -on-error=x y",
            "`x` is not a value of `-on-error`: there is no such choice; hint: it is one of `cleanup`, `abort`, `ask`, `run-cleanup-provisioner`",
        ),
        (
            "build -config-type=hcl x",
            "`hcl` is not a value of `-config-type`: there is no such choice; hint: did you mean `hcl2`?",
        ),
        (
            "build ---force x",
            "`---force` is not how a flag is written; hint: a flag is one or two dashes and its name, as `-force` or `-on-error=ask`",
        ),
        (
            "build -=x y",
            "`-=x` is not how a flag is written; hint: a flag is one or two dashes and its name, as `-force` or `-on-error=ask`",
        ),
    ] {
        let (code, topic, said) = refused(packer(line));
        assert_eq!(said, message, "{line}");
        assert_eq!(code, 1, "{line}");
        assert!(topic.is_some(), "{line}");
    }
}

#[test]
fn what_is_wrong_with_our_flags_is_said() {
    for (line, message) in [
        (
            "build -lock -locked x",
            "`-lock` and `-locked` cannot both be given; hint: `-lock` writes what is resolved into the lock file; `-locked` refuses what it lacks",
        ),
        (
            "build x -max-age=7",
            "`7` is not a value of `-max-age`: its last number has no unit; hint: write numbers with units, as `7d`, `12h` or `1h30m`",
        ),
        (
            "build x y",
            "`imgbuild build` has no use for the argument `y`; hint: one template at a time: `imgbuild build [flags] TEMPLATE`; a folder is one template of many files",
        ),
    ] {
        let (code, _, said) = refused(imgbuild(line));
        assert_eq!((said.as_str(), code), (message, 1), "{line}");
    }
}

#[test]
fn a_flag_that_is_no_text_is_refused_and_a_template_is_not() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = OsString::from_vec(vec![b'-', 0xff]);
    let (_, _, said) = refused(parse_packer(&["build".into(), bytes.clone(), "x".into()]));
    assert_eq!(said, "the flag `-\u{fffd}` is not UTF-8");
    let (_, _, said) = refused(parse_packer(&["build".into(), "-only".into(), bytes, "x".into()]));
    assert_eq!(said, "the flag `-\u{fffd}` is not UTF-8");
    let template = OsString::from_vec(vec![b'x', 0xff]);
    let read = parse_packer(&["build".into(), template.clone()]).unwrap();
    assert!(matches!(read.command, Command::Build(build) if *build.template == *template));
}

#[test]
fn arguments_are_counted() {
    for (line, message) in [
        (
            "build",
            "`packer build` needs an argument: `TEMPLATE`; hint: write `packer build [flags] TEMPLATE`",
        ),
        (
            "build a b",
            "`packer build` has no use for the argument `b`; hint: one template at a time: `packer build [flags] TEMPLATE`; a folder is one template of many files",
        ),
        ("fmt", "`packer fmt` needs an argument: `PATH`; hint: write `packer fmt [flags] PATH...`"),
        (
            "fix",
            "`packer fix` needs an argument: `TEMPLATE.json`; hint: write `packer fix [flags] TEMPLATE.json`",
        ),
        (
            "plugins install",
            "`packer plugins install` needs an argument: `SOURCE`; hint: write `packer plugins install [flags] SOURCE [VERSION]`",
        ),
        (
            "plugins install a b c",
            "`packer plugins install` has no use for the argument `c`; hint: write `packer plugins install [flags] SOURCE [VERSION]`",
        ),
        (
            "plugins installed a",
            "`packer plugins installed` has no use for the argument `a`; hint: write `packer plugins installed [flags]`",
        ),
        (
            "console a b",
            "`packer console` has no use for the argument `b`; hint: one template at a time: `packer console [flags] [TEMPLATE]`; a folder is one template of many files",
        ),
    ] {
        let (code, topic, said) = refused(packer(line));
        assert_eq!(said, message, "{line}");
        assert_eq!(code, 1, "{line}");
        assert!(topic.is_some());
    }
    for line in
        ["console", "console a", "inspect", "inspect a", "fmt a b c", "version a b", "plugins installed"]
    {
        assert!(packer(line).is_ok(), "{line}");
    }
}

#[test]
fn a_command_that_there_is_not_exits_with_127() {
    for (line, message) in [
        ("", ""),
        ("-foo", ""),
        ("-- build x", ""),
        ("biuld x", "`biuld` is not a command of `packer`; hint: did you mean `packer build`?"),
        ("help", "`help` is not a command of `packer`"),
        ("-help nope", "`nope` is not a command of `packer`"),
        (
            "execute plugin",
            "`execute` is internal to Packer; hint: it is how Packer runs its own components; there is nothing to call here",
        ),
        (
            "sbom-generate /",
            "`sbom-generate` is internal to Packer; hint: it is how Packer runs its own components; there is nothing to call here",
        ),
        (
            "verify-attestation x",
            "`verify-attestation` is not supported; hint: a `packer` of version 1.16 or newer, or `cosign verify-attestation`, checks attestations",
        ),
        ("migrate x", "`migrate` is not a command of `packer`"),
    ] {
        assert_eq!(refused(packer(line)), (127, None, message.to_owned()), "{line}");
    }
    assert_eq!(refused(imgbuild("")), (127, None, String::new()));
    let said = "the flag `-force` stands before the command; hint: flags follow their command: `imgbuild <command> [flags]`";
    assert_eq!(refused(imgbuild("-force build x")), (1, None, said.to_owned()));
    let said = "`valdiate` is not a command of `imgbuild`; hint: did you mean `imgbuild validate`?";
    assert_eq!(refused(imgbuild("valdiate x")), (127, None, said.to_owned()));
    assert_eq!(refused(imgbuild("version")).0, 127);
}

#[test]
fn other_refusals_of_the_first_words() {
    let said = "the flag `-force` stands before the command; hint: flags follow their command: `packer build [flags]`";
    assert_eq!(refused(packer("-force build x")), (1, Some(Verb::Build), said.to_owned()));
    let said = "`-autocomplete-install` is not supported: no shell's files are changed; hint: `imgbuild completions bash` writes completions for a shell of your choice";
    assert_eq!(refused(packer("-autocomplete-install")), (1, None, said.to_owned()));
    assert_eq!(refused(packer("plugins")), (1, Some(Verb::Plugins), String::new()));
    let said = "`instal` is not a command of `packer plugins`; hint: did you mean `packer plugins install`?";
    assert_eq!(refused(packer("plugins instal x")), (1, Some(Verb::Plugins), said.to_owned()));
    let said = "`x` is not a command of `imgbuild plugins`; hint: it has the commands `install`, `installed`, `remove`, `required`";
    assert_eq!(refused(imgbuild("plugins x")), (1, Some(Verb::Plugins), said.to_owned()));
}
