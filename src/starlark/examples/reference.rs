//! Writes the reference of `BUILD.star` to standard output, in Markdown.

fn main() {
    print!("{}", imgbuild_starlark::reference_markdown());
}
