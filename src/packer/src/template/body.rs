//! Bodies of blocks whose attributes and blocks are known beforehand: what may be there, what must be, and what else
//! was probably meant. In the JSON syntax only this tells blocks from attributes.

use imgbuild_hcl::syntax::{Attribute, Block, Body, File, Label, is_identifier};
use imgbuild_model::{Diagnostic, did_you_mean};

use super::report::Report;

/// What a block may hold.
pub(super) struct Shape {
    /// What it is, for messages: a `variable` block.
    pub what: &'static str,
    pub attributes: &'static [&'static str],
    /// The kinds of blocks and how many labels they have.
    pub blocks: &'static [(&'static str, usize)],
}

impl Shape {
    /// The body with its blocks, whatever its syntax.
    pub(super) fn content(&self, body: &Body, report: &Report) -> Body {
        content(body, self.blocks, report)
    }

    /// The body with its blocks, after a report of what may not be there, and whether there was nothing such.
    pub(super) fn read(&self, body: &Body, report: &Report) -> (Body, bool) {
        let body = self.content(body, report);
        let clean = self.check(&body, report);
        (body, clean)
    }

    fn block_names(&self) -> impl Iterator<Item = &'static str> {
        self.blocks.iter().map(|(kind, _)| *kind)
    }

    fn has_block(&self, kind: &str) -> bool {
        self.block_names().any(|own| own == kind)
    }

    /// Reports what may not be there. Gives whether there was nothing: what is missing may else have been misspelt.
    pub(super) fn check(&self, body: &Body, report: &Report) -> bool {
        let unknown = |attribute: &&Attribute| !self.attributes.contains(&attribute.name.as_ref());
        let mut clean = true;
        for attribute in body.attributes.iter().filter(unknown) {
            clean = false;
            report.push(self.unknown_attribute(body, attribute));
        }
        self.check_blocks(body, report) && clean
    }

    /// Reports the blocks that may not be there.
    pub(super) fn check_blocks(&self, body: &Body, report: &Report) -> bool {
        let mut clean = true;
        for block in body.blocks.iter().filter(|block| !self.has_block(&block.kind)) {
            clean = false;
            report.push(self.unknown_block(block));
        }
        clean
    }

    fn unknown_attribute(&self, body: &Body, attribute: &Attribute) -> Diagnostic {
        let name = attribute.name.as_ref();
        let error =
            body.source.error(attribute.name_span, format!("{} has no attribute `{name}`", self.what));
        if self.has_block(name) {
            let near = did_you_mean(name, self.attributes.iter().copied());
            let hint = near.map_or_else(
                || format!("`{name}` is a block: write it without `=`"),
                |near| format!("did you mean `{near}`? `{name}` is a block"),
            );
            return error.hint(hint);
        }
        error.hint(suggestion(name, self.attributes.iter().copied().chain(self.block_names())))
    }

    pub(super) fn unknown_block(&self, block: &Block) -> Diagnostic {
        let kind = block.kind.as_ref();
        let error = block.body.source.error(block.kind_span, format!("{} has no block `{kind}`", self.what));
        if self.attributes.contains(&kind) {
            return error.hint(format!("`{kind}` is an attribute: write `{kind} = …`"));
        }
        if kind == "dynamic" {
            return error.hint("`dynamic` works in `build` blocks and in the bodies of components");
        }
        error.hint(suggestion(kind, self.block_names().chain(self.attributes.iter().copied())))
    }
}

fn suggestion(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<&str> = known.collect();
    if let Some(near) = did_you_mean(name, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("there are {}", all.join(", "))
}

/// A body with these blocks, whatever its syntax.
pub(super) fn content(body: &Body, blocks: &[(&str, usize)], report: &Report) -> Body {
    let File { body, errors } = body.content(blocks);
    report.extend(errors);
    body
}

/// The attribute of a block with that body, or an error that it is missing.
pub(super) fn required<'b>(
    block: &Block,
    body: &'b Body,
    name: &str,
    example: &str,
    report: &Report,
) -> Option<&'b Attribute> {
    let found = body.attribute(name);
    if found.is_none() {
        let message = format!("`{name}` is missing in this `{}` block", block.kind);
        report.push(block.body.source.error(block.header, message).hint(format!("write `{example}`")));
    }
    found
}

/// The labels of a block, if there are as many as there must be; `names` says what they stand for.
pub(super) fn labels<'b, const N: usize>(
    block: &'b Block,
    names: [&str; N],
    report: &Report,
) -> Option<[&'b Label; N]> {
    let kind = block.kind.as_ref();
    let example =
        names.iter().fold(format!("`{kind}"), |text, name| format!("{text} \"{name}\"")) + " { … }`";
    if block.labels.len() == N {
        let mut all = block.labels.iter();
        return Some(std::array::from_fn(|_| all.next().unwrap_or(&block.labels[0])));
    }
    let error = match block.labels.get(N) {
        Some(extra) if N == 0 => {
            let message = format!("a `{kind}` block has no label");
            block.body.source.error(extra.span, message).hint(format!("write `{kind} {{ … }}`"))
        }
        Some(extra) => {
            let plural = if N == 1 { "" } else { "s" };
            let message = format!("a `{kind}` block has {N} label{plural}, this is one more");
            block.body.source.error(extra.span, message).hint(format!("write {example}"))
        }
        None => {
            let missing = names[block.labels.len()];
            let message = format!("the {missing} of this `{kind}` block is missing");
            block.body.source.error(block.header, message).hint(format!("write {example}"))
        }
    };
    report.push(error);
    None
}

/// Whether a label is a name; if not, it is reported.
pub(super) fn is_name(block: &Block, label: &Label, report: &Report) -> bool {
    let good = is_identifier(&label.text);
    if !good {
        let message = format!("`{}` is not a name", label.text);
        let hint = "a name starts with a letter or `_` and goes on with letters, digits, `_` and `-`";
        report.push(block.body.source.error(label.span, message).hint(hint));
    }
    good
}
