//! Commands beside their steps.

use super::*;

/// Steps as a text: `a` a key, `A` one with shift, `+ff0d`/`-ff0d` held and let up, `.` the end of a group, `(1s)` a wait.
fn steps(text: &str) -> String {
    let one = |step: &Step| match *step {
        Step::Wait(time) => format!("({time:?})"),
        Step::Press { key, shift } => {
            let shown = char::from_u32(key.0).filter(|c| c.is_ascii_graphic() || *c == ' ');
            let shown = shown.map_or_else(|| format!("[{:x}]", key.0), String::from);
            if shift { format!("^{shown}") } else { shown }
        }
        Step::Hold(key) => format!("+{:x}", key.0),
        Step::Release(key) => format!("-{:x}", key.0),
        Step::GroupEnd => ".".to_owned(),
    };
    BootCommand::parse(text).unwrap().steps().iter().map(one).collect()
}

#[test]
fn texts_and_names() {
    for (text, wanted) in [
        ("", ""),
        ("abc", "abc."),
        ("aB!~ 1", "a^B^!^~ 1."),
        ("a<enter>b", "a.[ff0d].b."),
        ("<ENTER><Esc><f10><pageUp>", "[ff0d].[ff1b].[ffc7].[ff55]."),
        ("<wait>", "(1s)"),
        ("a<wait10><wait5s>b<wait1m30s><wait500ms>", "a.(10s)(5s)b.(90s)(500ms)"),
        ("<WAIT2>", "(2s)"),
        ("<wait5µs><wait1.5s>", "(5µs)(1.5s)"),
        ("<leftShiftOn>a<leftShiftOff>", "+ffe1.a.-ffe1."),
        ("<leftCtrlOn><cOn><cOff><leftCtrlOff>", "+ffe3.+63.-63.-ffe3."),
        ("<LEFTALTON><f2><LeftAltOff>", "+ffe9.[ffbf].-ffe9."),
        ("<=On><=Off>", "+3d.-3d."),
        ("<>On><>Off>", "+3e.-3e."),
        ("<spacebar><bs><del>", " .[ff08].[ffff]."),
        ("x < y > z", "x ^< y ^> z."),
        ("<", "^<."),
        ("a<b", "a^<b."),
        ("<<enter>>", "^<.[ff0d].^>."),
        ("é€", "[e9][10020ac]."),
    ] {
        assert_eq!(steps(text), wanted, "{text}");
    }
}

#[test]
fn what_is_no_name_is_typed_and_told() {
    assert_eq!(steps("<html>"), "^<html^>.");
    let told = |text: &str| {
        let command = BootCommand::parse(text).unwrap();
        command.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (text, wanted) in [
        ("é<html>", "column 2 of the boot command: `<html>` is no key and is typed as it is"),
        (
            "ab<entre>",
            "column 3 of the boot command: `<entre>` is no key and is typed as it is; did you mean `<enter>`?",
        ),
        (
            "<leftShitOn>",
            "column 1 of the boot command: `<leftShitOn>` is no key and is typed as it is; did you mean `<leftshift>`?",
        ),
        (
            "a\n",
            "column 2 of the boot command: the character U+000A has no key and is not typed; for a line's end write `<enter>`",
        ),
        (
            "<leftAltOn>x",
            "column 1 of the boot command: `<leftAltOn>` is never let up; end with the same name and `Off`",
        ),
    ] {
        assert_eq!(told(text), [wanted], "{text}");
    }
    assert!(told("<esc><wait>a<leftAltOn><leftAltOff> <x > y").is_empty());
}

#[test]
fn every_text_is_typed_or_told() {
    let pieces = [
        "<",
        ">",
        "On",
        "off",
        "wait",
        "5",
        ".",
        "s",
        "é",
        "\u{1f600}",
        "µ",
        "enter",
        "\0",
        "leftShift",
        " ",
    ];
    let mut number = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..8 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += pieces[(number >> 33) as usize % pieces.len()];
        }
        let told = match BootCommand::parse(&text) {
            Ok(command) => command.warnings().iter().map(|warning| warning.column).collect(),
            Err(error) => vec![error.column],
        };
        assert!(told.iter().all(|&column| column >= 1 && column <= text.chars().count()), "{text}");
    }
}

#[test]
fn a_wait_without_a_time_is_an_error() {
    for wrong in ["<wait5x>", "<waitfor>", "<wait1.2.3s>", "<wait99999999999999999999h>"] {
        let error = BootCommand::parse(&format!("ab{wrong}")).unwrap_err();
        let wanted = format!(
            "column 3 of the boot command: `{wrong}` is no wait; write `<wait>`, `<wait5>` for 5 seconds or `<wait1m30s>`"
        );
        assert_eq!(error.to_string(), wanted);
    }
}
