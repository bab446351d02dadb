//! What keeps a mistake from taking the machine with it.

use imgbuild_starlark::Limits;

use crate::workspace::{Workspace, build_error};

fn small() -> Limits {
    Limits { ticks: 100_000, heap_bytes: 8 << 20, stack_depth: 60 }
}

fn error(text: &str) -> String {
    Workspace::with_limits(&[("BUILD.star", text)], small()).load_error()
}

#[test]
fn a_loop_without_end_is_stopped() {
    assert_eq!(
        error(
            "def f():\n    for a in range(10000000):\n        for b in range(10000000):\n            pass\nf()\n"
        ),
        "BUILD.star: this takes too long: more than 100000 calls and turns of loops; \
         hint: is there a loop that does not end, or one over too much?"
    );
}

#[test]
fn a_range_that_no_memory_holds_is_refused() {
    assert_eq!(
        error("x = list(range(1000000000))\n"),
        "BUILD.star:1:10: `range()` of more than 10000000 numbers"
    );
}

#[test]
fn a_list_that_grows_without_end_is_stopped() {
    let text = "def f():\n    x = []\n    for n in range(90000):\n        x.append(\"some text that is not small: %d\" % n)\n        y = x + x\nf()\n";
    let message = error(text);
    assert!(message.contains("this takes too much memory: more than 8 MiB"), "{message}");
}

#[test]
fn recursion_without_end_is_stopped() {
    let message = error("def f(n):\n    return f(n + 1)\nf(0)\n");
    assert!(message.contains("calls are nested too deeply"), "{message}");
    assert!(
        message.contains("hint: a function that calls itself has to end; write a loop instead"),
        "{message}"
    );
    assert!(message.len() < 800, "{message}");
}

#[test]
fn the_default_depth_fits_the_stack_of_a_worker_thread() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let text = "def f(n):\n    for x in [1]:\n        return [f(n + 1) for y in [1]]\nf(0)\n";
    let message = pool.install(|| build_error(text));
    assert!(message.contains("calls are nested too deeply"), "{message}");
}

#[test]
fn text_that_nests_without_end_is_refused_before_it_is_parsed() {
    let message = error(&format!("x = {}\n", "[".repeat(100_000)));
    assert!(message.contains("brackets are nested too deeply"), "{message}");
    let row = format!("x = {}1\n", "1 + ".repeat(100_000));
    assert!(error(&row).contains("too many operators in a row"));
    let chain =
        format!("def f(x):\n    if x:\n        pass\n{}", "    elif x:\n        pass\n".repeat(100_000));
    assert!(error(&chain).contains("too many branches"), "{}", error(&chain));
}

#[test]
fn what_is_just_allowed_fits_the_stack_of_a_worker_thread() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let brackets = format!("x0 = {}{}\n", "[".repeat(58), "]".repeat(58));
    let row = format!("x1 = {}1\n", "1 + ".repeat(148));
    let nots = format!("x2 = {}1\n", "not ".repeat(148));
    let ifs = format!("x3 = {}1\n", "1 if 1 else ".repeat(72));
    let blocks = (0..57).map(|n| format!("{}if n:\n", " ".repeat(n + 1))).collect::<String>();
    let blocks = format!("def f(n):\n{blocks}{}pass\n", " ".repeat(59));
    let elifs = format!("def g(x):\n    if x:\n        pass\n{}", "    elif x:\n        pass\n".repeat(148));
    for text in [brackets, row, nots, ifs, blocks, elifs] {
        pool.install(|| {
            let workspace = Workspace::new(&[("BUILD.star", &text)]);
            workspace.load("").unwrap_or_else(|error| panic!("{error}"));
        });
    }
}

#[test]
fn a_list_that_contains_itself_is_no_data() {
    assert_eq!(
        build_error("x = []\nx.append(x)\nfilegroup(name = \"a\", tags = x)\n"),
        "BUILD.star:3:1: attribute `tags` of `filegroup`: the value is nested deeper than 50 levels"
    );
}
