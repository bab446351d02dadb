//! Errors that the table of cases does not reach, places, and limits.

use imgbuild_gotemplate::{ErrorKind, Functions, Limits, Options, Span, Template, Value};

fn render(source: &str, limits: Limits) -> Result<String, imgbuild_gotemplate::Error> {
    let functions = Functions::new();
    let options = Options { limits, ..Options::default() };
    Template::parse(source, &functions)?.render(&functions, &Value::Absent, &options)
}

fn kind(source: &str, limits: Limits) -> ErrorKind {
    render(source, limits).expect_err(source).kind
}

#[test]
fn a_place_is_a_line_a_column_and_bytes() {
    let error = render("é\n ü{{ nope }}", Limits::default()).expect_err("no such function");
    assert_eq!((error.line, error.column), (2, 6));
    assert_eq!(error.span, Span { start: 9, end: 13 });
    assert_eq!(error.to_string(), "2:6: there is no function `nope`");
}

#[test]
fn what_this_crate_does_not_have_is_said() {
    assert_eq!(
        kind("{{1i}}", Limits::default()).to_string(),
        "complex numbers such as `1i` are not supported"
    );
    assert_eq!(
        kind("{{\"\\xff\"}}", Limits::default()).to_string(),
        "the string `\"\\xff\"` does not stand for UTF-8 text"
    );
    assert_eq!(
        kind("{{slice `é` 1}}", Limits::default()).to_string(),
        "`slice`: a bound lies inside of a character"
    );
}

#[test]
fn work_is_bounded() {
    let limits = Limits { steps: 1000, output: 1000, depth: 20 };
    assert_eq!(kind("{{range 1000000000}}{{end}}", limits), ErrorKind::Steps(1000));
    assert_eq!(kind("{{range 200}}xxxxxxxxxx{{end}}", limits), ErrorKind::Output(1000));
    assert_eq!(kind("{{printf `%9999d` 1}}", limits), ErrorKind::Output(1000));
    assert_eq!(kind("{{len (printf `%9999d` 1)}}", limits), ErrorKind::Output(1000));
    assert_eq!(
        kind("{{define `a`}}{{template `a`}}{{end}}{{template `a`}}", limits),
        ErrorKind::CallDepth(20)
    );
    let doubling = "{{$x := `0123456789`}}{{range 60}}{{$x = print $x $x}}{{end}}";
    assert_eq!(kind(doubling, limits), ErrorKind::Output(1000));
    assert_eq!(kind(doubling, Limits::default()), ErrorKind::Output(16 << 20));
}

/// Wider and more exact than `std` formats a number.
#[test]
fn numbers_are_written_with_any_precision() {
    let text = |source: &str| {
        let template = Template::parse(source, &Functions::new()).expect("it parses");
        template.render(&Functions::new(), &Value::Absent, &Options::default()).expect("it renders")
    };
    for (verb, start, end) in [
        ("f", "1.5000", "000"),
        ("e", "1.5000", "000e+00"),
        ("g", "1.5", "1.5"),
        ("#g", "1.5000", "000"),
        ("x", "0x1.8000", "000p+00"),
    ] {
        let (flag, letter) = verb.split_at(verb.len() - 1);
        let written = text(&format!("{{{{printf `%{flag}.99999{letter}` 1.5}}}}"));
        assert!(written.starts_with(start) && written.ends_with(end), "{verb}: {}", written.len());
        assert_eq!(written.len() > 99_999, verb != "g", "{verb}");
    }
    assert_eq!(text("{{printf `%.99999U` 1}}").len(), 100_001);
}

#[test]
fn nesting_is_bounded() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for source in [
        format!("{{{{{}}}}}", deep("(", ")")),
        deep("{{if 1}}", "{{end}}"),
        format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(100_000)),
        format!("{{{{{}}}}}", "(".repeat(100_000)),
    ] {
        let kind = kind(&source, Limits::default());
        assert!(matches!(kind, ErrorKind::TooDeep(_) | ErrorKind::UnclosedParenthesis), "{kind:?}");
    }
}

/// The deepest tree called from the deepest call, on a stack far smaller than any thread of the program has.
#[test]
fn the_deepest_rendering_fits_a_small_stack() {
    let body = format!("{}{{{{template `a`}}}}{}", "{{if 1}}".repeat(95), "{{end}}".repeat(95));
    let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(98), ")".repeat(98));
    let source = format!("{{{{define `a`}}}}{parentheses}{body}{{{{end}}}}{{{{template `a`}}}}");
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let result = thread.spawn(move || kind(&source, Limits::default())).expect("a thread").join();
    assert_eq!(result.expect("no overflow"), ErrorKind::CallDepth(200));
}
