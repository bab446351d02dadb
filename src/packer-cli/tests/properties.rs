//! What holds for any input.

use std::ffi::OsString;

use imgbuild_model::{Diagnostic, Location};
use imgbuild_packer_cli::args::{self, Passthrough, Verb, exit};
use imgbuild_packer_cli::diagnostics::{self, Style};
use imgbuild_packer_cli::ui::{Appearance, Event, MASK, Masker, Ui};
use proptest::prelude::*;

/// Words near to what is typed: commands, flags, values, and anything.
fn word() -> impl Strategy<Value = String> {
    let verbs: Vec<&str> = Verb::all().iter().flat_map(|verb| verb.name().split(' ')).collect();
    prop_oneof![
        proptest::sample::select(verbs).prop_map(str::to_owned),
        "-{0,3}(var|only|force|color|on-error|parallel-builds|max-age|h|v|q|machine-readable)(=.{0,4})?",
        "[-=a0,._/:]{0,6}",
        ".{0,6}",
    ]
}

proptest! {
    #[test]
    fn any_words_are_taken_or_refused(words in proptest::collection::vec(word(), 0..8)) {
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let passthrough = [Passthrough { name: "q", takes_value: true }];
        let _ = args::concerns_template(&words, &passthrough, &|_| false);
        for result in [args::parse_packer(&words), args::parse_imgbuild(&words, &passthrough)] {
            if let Err(refusal) = result {
                prop_assert!([exit::FAILURE, exit::UNKNOWN_COMMAND].contains(&refusal.exit_code));
            }
        }
    }

    #[test]
    fn flags_may_stand_anywhere_for_imgbuild(
        flags in proptest::collection::vec("-(force|only=[a-c]{1,2}|var=[a-c]=[a-c]|debug=(0|1)|refresh)", 0..5),
        place in 0..6_usize,
    ) {
        let line = |place: usize| {
            let mut words: Vec<OsString> = vec!["build".into()];
            words.extend(flags.iter().map(OsString::from));
            words.insert(1 + place.min(flags.len()), "x.json".into());
            args::parse_imgbuild(&words, &[])
        };
        prop_assert_eq!(line(place), line(usize::MAX));
        prop_assert!(line(place).is_ok());
    }

    #[test]
    fn no_sensitive_value_is_left(secret in "[abc\n]{4,12}", text in "[abc\n, ]{0,60}", machine in any::<bool>()) {
        let appearance = Appearance { machine_readable: machine, ..Appearance::default() };
        let mut ui = Ui::new(appearance, Masker::new([&secret]), ["x".to_owned()]);
        let build = ui.builds().next().unwrap();
        let text = format!("{text}{secret}");
        let shown = ui.event(&jiff::Zoned::now(), &Event::Say { build, text });
        for line in secret.split('\n').map(str::trim).filter(|line| line.len() >= 4) {
            prop_assert!(!shown.contains(line), "{}", shown);
            prop_assert!(shown.contains(MASK));
        }
    }

    #[test]
    fn any_event_for_programs_is_one_line(text in ".{0,30}(\r?\n.{0,30}){0,3}") {
        let appearance = Appearance { machine_readable: true, ..Appearance::default() };
        let mut ui = Ui::new(appearance, Masker::default(), ["x".to_owned()]);
        let build = ui.builds().next().unwrap();
        let shown = ui.event(&jiff::Zoned::now(), &Event::Say { build, text });
        prop_assert_eq!(shown.matches('\n').count(), 1);
        prop_assert!(shown.ends_with('\n') && !shown.contains('\r'));
        prop_assert_eq!(shown.matches(',').count(), 4);
    }

    #[test]
    fn any_place_in_any_text_is_shown(
        text in "(.{0,12}\n){0,9}",
        line in 0..12_u32,
        column in 0..15_u32,
        end_line in 0..12_u32,
        end_column in 0..15_u32,
        width in proptest::option::of(0..30_usize),
    ) {
        let location = Location { file: "x".into(), line, column, end_line, end_column };
        let diagnostic = Diagnostic::error("wrong").at(location).label("here").hint("do not do that");
        let style = Style { color: false, width };
        let shown = diagnostics::render(&diagnostic.into(), &|_| Some(text.clone()), style);
        prop_assert!(shown.starts_with("Error: wrong\n\n  on x"));
        prop_assert!(shown.ends_with("\n\n"));
    }
}
