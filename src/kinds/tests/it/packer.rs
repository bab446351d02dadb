//! The tables against the real program: each attribute is given a value of a wrong type, and what `packer validate` says of
//! it must fit the type in the table. What the program is too old to know is passed over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use imgbuild_kinds::{POST_PROCESSOR_META, PROVISIONER_META, components};
use imgbuild_model::{AttributeSchema, AttributeType, KindClass, KindSchema, Table};

/// A template in which everything has a wrong type; by line, what is wrong.
#[derive(Default)]
struct Wrong {
    text: String,
    lines: BTreeMap<usize, (String, Expected)>,
}

enum Expected {
    /// What the program calls the type.
    Type(&'static str),
    Block,
}

fn type_name(type_: AttributeType) -> Option<&'static str> {
    use AttributeType as Type;
    Some(match type_ {
        Type::String | Type::GoDuration | Type::Enum(_) | Type::EnumAnyCase(_) => "string",
        Type::Int | Type::Number => "number",
        Type::Bool | Type::Trilean => "bool",
        Type::StringList | Type::List(Type::Enum(_)) => "list of string",
        Type::Bytes | Type::List(Type::Int) => "list of number",
        Type::List(Type::StringList) => "list of list of string",
        Type::StringDict => "map of string",
        Type::Any => return None,
        _ => unreachable!("no component has an attribute of type {type_}"),
    })
}

impl Wrong {
    fn line(&mut self, text: &str) -> usize {
        writeln!(self.text, "{text}").unwrap();
        self.text.lines().count()
    }

    fn attribute(&mut self, place: &str, attribute: &AttributeSchema) {
        let Some(expected) = type_name(attribute.type_) else { return };
        let value = if attribute.type_ == AttributeType::StringDict { "\"x\"" } else { "{}" };
        let line = self.line(&format!("{} = {value}", attribute.name));
        self.lines.insert(line, (format!("{place}{}", attribute.name), Expected::Type(expected)));
    }

    fn table(&mut self, place: &str, table: Table) {
        for attribute in table.all_attributes() {
            self.attribute(place, attribute);
        }
        for block in table.all_blocks() {
            let line = self.line(&format!("{} {{", block.name));
            self.lines.insert(line, (format!("{place}{}", block.name), Expected::Block));
            self.table(&format!("{place}{}.", block.name), block.table);
            self.line("}");
        }
    }

    fn of(schema: &KindSchema) -> Self {
        let mut wrong = Self::default();
        if schema.class == KindClass::Builder {
            wrong.line(&format!("source \"{}\" \"x\" {{", schema.id));
            wrong.table("", schema.table());
            wrong.line("}");
            wrong.line(&format!("build {{ sources = [\"source.{}.x\"] }}", schema.id));
            return wrong;
        }
        wrong.line("source \"null\" \"x\" { communicator = \"none\" }");
        wrong.line("build {");
        wrong.line("sources = [\"source.null.x\"]");
        // Of each of these the program tells the first complaint alone; of meta-arguments it tells nothing else at all.
        let is_meta =
            |name| PROVISIONER_META.attribute(name).or(POST_PROCESSOR_META.attribute(name)).is_some();
        for attribute in schema.table().all_attributes().filter(|attribute| !is_meta(attribute.name)) {
            wrong.line(&format!("{} \"{}\" {{", schema.class.word(), schema.id));
            wrong.attribute("", attribute);
            wrong.line("}");
        }
        wrong.line("}");
        wrong
    }
}

/// What the program says, by line: as `on FILE line N:`, or as `FILE:N,1-2:` within another complaint.
fn complaints(output: &str, file: &str) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::<usize, String>::new();
    let inner = format!("{file}:");
    for message in output.split("Error: ").skip(1) {
        let place = message.split_once(&inner).or_else(|| message.split_once(" line "));
        let Some((line, text)) = place.and_then(|(_, rest)| rest.split_once([',', ':'])) else { continue };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        found.entry(line.trim().parse().unwrap()).or_default().push_str(&text);
    }
    found
}

/// Where the program, 1.6.6, is of another mind than its plugins are today.
const CHANGED: &[(&str, &str)] = &[
    // A number since.
    ("vmware-iso", "version"),
];

fn disagreement(expected: &Expected, said: Option<&String>) -> Option<String> {
    let said = said.map_or("", String::as_str);
    let agrees = match expected {
        _ if said.contains("Did you mean to define") => false,
        _ if said.contains("not expected here") => true,
        Expected::Type(name) => {
            said.contains(&format!(": {name} required")) || said.contains(&format!(": a {name} is required"))
        }
        Expected::Block => said.is_empty() || said.contains("Missing required argument"),
    };
    (!agrees).then(|| said.to_owned())
}

/// What the program and the table of a component disagree about; nothing if it does not know the component.
fn compare(schema: &KindSchema, folder: &Path) -> Option<Vec<String>> {
    let template = Wrong::of(schema);
    let name = format!("{}-{}.pkr.hcl", schema.class.word(), schema.id);
    fs_err::write(folder.join(&name), &template.text).unwrap();
    let output = Command::new("packer")
        .args(["validate", &name])
        .current_dir(folder)
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.contains(&format!("Unknown {} type", schema.class.word()))
        || output.contains("Unknown source type")
    {
        return None;
    }
    let said = complaints(&output, &name);
    let mut unknown = String::new();
    let mut wrong = Vec::new();
    for (line, (place, expected)) in &template.lines {
        let complaint = said.get(line);
        let changed = CHANGED.contains(&(schema.id, place));
        if changed || (!unknown.is_empty() && place.starts_with(&unknown)) {
            continue;
        }
        if complaint.is_some_and(|it| it.contains("not expected here")) {
            unknown = format!("{place}.");
        }
        if let Some(said) = disagreement(expected, complaint) {
            wrong.push(format!("{} {} `{place}`: {said}", schema.class.word(), schema.id));
        }
    }
    Some(wrong)
}

#[test]
fn types_are_those_of_the_real_program() {
    let Ok(version) = Command::new("packer").arg("version").output() else {
        eprintln!("skipped: there is no `packer` on the path");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packer-types");
    fs_err::create_dir_all(&folder).unwrap();
    let todo: Vec<_> = components()
        .filter(|schema| !matches!(schema.class, KindClass::DataSource | KindClass::Communicator))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || todo.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(take).filter_map(|schema| compare(schema, &folder)).collect::<Vec<_>>()
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let compared: Vec<Vec<String>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    let wrong = compared.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(compared.len() > 40 || !version.contains("1.6.6"), "compared {} with {version}", compared.len());
}
