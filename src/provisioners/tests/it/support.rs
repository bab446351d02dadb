//! A build, moments of it, and runs as texts.

use imgbuild_engine::ActionError;
use imgbuild_provisioners::windows::{Build, Http, Moment, ScriptRun};

pub(crate) fn build() -> Build {
    Build { name: "web".to_owned(), builder_type: "amazon-ebs".to_owned() }
}

/// A moment without a server for files.
pub(crate) fn moment() -> Moment {
    Moment { id: "7f3a".to_owned(), ..Moment::default() }
}

/// Another, with a server and more that is known.
pub(crate) fn other_moment() -> Moment {
    Moment {
        id: "c0de".to_owned(),
        http: Some(Http { ip: "10.0.0.1".to_owned(), port: 8000 }),
        data: [("Password", "s3cret"), ("WinRMPassword", "s3cret")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The paths that a run uploads to, in order.
pub(crate) fn paths(run: &ScriptRun) -> Vec<&str> {
    run.uploads.iter().map(|upload| &*upload.path).collect()
}

/// What a run uploads to a path.
pub(crate) fn uploaded<'a>(run: &'a ScriptRun, path: &str) -> &'a str {
    let upload = run.uploads.iter().find(|upload| upload.path == path);
    std::str::from_utf8(&upload.unwrap_or_else(|| panic!("nothing goes to {path}: {run:?}")).content).unwrap()
}

/// An error without its hint.
pub(crate) fn message(error: ActionError) -> String {
    let text = error.to_string();
    text.split_once("; hint: ").map_or(text.clone(), |(message, _)| message.to_owned())
}
