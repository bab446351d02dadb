//! Packer's functions in Go templates, such as `{{user "x"}}` and `{{timestamp}}`, in both kinds of templates.
//!
//! A [`Renderer`] renders the strings of one [`Place`]. Whatever lies outside of a template (the environment, the
//! clock, stores of secrets) is asked of a [`Host`] and told in [`Reads`], so that a key can hold what it must.

mod functions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imgbuild_gotemplate::{Error, ErrorKind, Functions, Options, Rendered, Span, Template, Value};
use imgbuild_model::{Diagnostic, Location, did_you_mean};
use imgbuild_packer_functions::{SecretError, SecretRequest};
use jiff::Timestamp;

/// What lies outside of a template and its run.
pub trait Host: Send + Sync {
    /// The environment variable, if it is set.
    fn environment(&self, name: &str) -> Option<String>;

    /// Asks a store of secrets or settings. It is asked each time that a function is called: a host that wants one answer
    /// in all of a run gives the same one again.
    ///
    /// # Errors
    /// Why there is no answer.
    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError>;

    /// Random bytes for `{{uuid}}`.
    fn random(&self) -> [u8; 12];
}

/// What is the same for all strings of a run.
#[derive(Clone)]
pub struct Run {
    /// The time that all functions speak of.
    pub started: Timestamp,
    /// The current folder, for `{{pwd}}`.
    pub folder: String,
    /// The absolute path of the template's folder; `None` for one from standard input and for HCL.
    pub template_folder: Option<String>,
    /// The version that `{{packer_version}}` gives.
    pub packer_version: String,
    /// Everything else.
    pub host: Arc<dyn Host>,
}

/// Where a string stands. It decides which functions may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The section `variables` of a template in JSON, or a value given for one of them.
    Variables,
    /// Anywhere else.
    Elsewhere,
}

/// The build whose component is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// `{{build_name}}`
    pub name: String,
    /// `{{build_type}}`
    pub kind: String,
}

/// What `{{build "ID"}}` knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Generated {
    /// Nothing: builders, variables, names.
    #[default]
    Nothing,
    /// These names, whose values a running build will make.
    Late(BTreeSet<String>),
    /// The values.
    Known(BTreeMap<String, String>),
}

/// Which characters a cloud allows in names of its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaner {
    /// Names of Amazon's images.
    Amazon,
    /// Names of Azure's images.
    Azure,
    /// Names of Google's images.
    Google,
}

/// All that the functions of one place know.
#[derive(Clone)]
pub struct Context {
    /// The run.
    pub run: Run,
    /// The place.
    pub place: Place,
    /// User variables; `None` in HCL, where there are none.
    pub user: Option<BTreeMap<String, String>>,
    /// The build, inside of a component.
    pub build: Option<Build>,
    /// What is known of the machine.
    pub generated: Generated,
    /// What `clean_resource_name` does, for builders that have it.
    pub cleaner: Option<Cleaner>,
    /// The fields, such as `.Vars`.
    pub data: Value,
}

/// What a rendering asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Environment variables, and what they were.
    pub environment: BTreeMap<String, Option<String>>,
    /// User variables, declared or not.
    pub user: BTreeSet<String>,
    /// Values of stores.
    pub secrets: BTreeSet<SecretRequest>,
    /// The clock.
    pub clock: bool,
    /// Random numbers.
    pub random: bool,
    /// The current folder or the template's.
    pub folder: bool,
}

/// What comes of a rendering.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// A text, or a template if something in it is known only later.
    pub text: Rendered,
    /// What it asked for.
    pub reads: Reads,
    /// Fields that nothing will ever give, which print as `<no value>`.
    pub unknown_fields: Vec<(String, Span)>,
}

/// Why a string that is rendered until nothing changes has no end.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsettled {
    /// It is wrong.
    Wrong(Error),
    /// What became of it is wrong; places are in that.
    Later(Error),
    /// It changes each time.
    Endless,
    /// It grows.
    TooLong,
}

/// The most bytes of a string that is rendered until it does not change: one that grows each time has no end.
const LONGEST: usize = 1 << 20;

/// How often a string is rendered until it does not change.
const ROUNDS: usize = 100;

/// Renders the strings of one place.
pub struct Renderer {
    shared: Arc<Shared>,
    functions: Functions,
}

struct Shared {
    context: Context,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    user: Option<BTreeMap<String, String>>,
    /// A user variable that a variable asked for before it had a value.
    missing: Option<String>,
    reads: Reads,
    /// What to do about a store that gave no value.
    hint: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// A place outside of all builds.
    #[must_use]
    pub fn new(run: Run, place: Place, user: Option<BTreeMap<String, String>>) -> Self {
        let data = Value::Absent;
        Self { run, place, user, build: None, generated: Generated::Nothing, cleaner: None, data }
    }
}

impl Cleaner {
    /// What components of this type have, if they have it.
    #[must_use]
    pub fn of_component(kind: &str) -> Option<Self> {
        match kind {
            "googlecompute" | "yandex" => Some(Self::Google),
            "azure-arm" | "azure-chroot" | "azure-dtl" => Some(Self::Azure),
            _ => kind.starts_with("amazon-").then_some(Self::Amazon),
        }
    }
}

impl Renderer {
    /// A renderer for this place.
    #[must_use]
    pub fn new(context: Context) -> Self {
        let state = State { user: context.user.clone(), ..State::default() };
        let shared = Arc::new(Shared { context, state: Mutex::new(state) });
        let functions = functions::table(&shared);
        Self { shared, functions }
    }

    /// Renders a string once, as Packer does with most attributes.
    ///
    /// # Errors
    /// What is wrong, at a place of the string; see [`Renderer::hint`].
    pub fn render(&mut self, source: &str) -> Result<Output, Error> {
        if !source.contains("{{") {
            let text = Rendered::Text(source.to_owned());
            return Ok(Output { text, reads: Reads::default(), unknown_fields: Vec::new() });
        }
        let template = self.parse(source)?;
        let mut state = self.shared.state();
        state.reads = Reads::default();
        state.missing = None;
        state.hint = None;
        drop(state);
        let text =
            template.render_partial(&self.functions, &self.shared.context.data, &Options::default())?;
        let reads = std::mem::take(&mut self.shared.state().reads);
        Ok(Output { text, reads, unknown_fields: self.unknown_fields(&template) })
    }

    /// Renders a string until nothing changes, as Packer does with names.
    ///
    /// # Errors
    /// What is wrong, or that there is no end.
    pub fn settle(&mut self, source: &str) -> Result<String, Unsettled> {
        let mut current = source.to_owned();
        for round in 0..ROUNDS {
            let output = self.render(&current).map_err(|error| match round {
                0 => Unsettled::Wrong(error),
                _ => Unsettled::Later(error),
            })?;
            match output.text {
                Rendered::Text(next) | Rendered::Template(next) if next.len() > LONGEST => {
                    return Err(Unsettled::TooLong);
                }
                Rendered::Text(next) | Rendered::Template(next) if next != current => current = next,
                _ => return Ok(current),
            }
        }
        Err(Unsettled::Endless)
    }

    /// Checks a string that is rendered later.
    ///
    /// # Errors
    /// Like [`Renderer::render`], for its form and the names in it.
    pub fn check(&self, source: &str) -> Result<(), Error> {
        self.parse(source).map(|_| ())
    }

    fn parse(&self, source: &str) -> Result<Template, Error> {
        let template = Template::parse(source, &self.functions)?;
        let Generated::Late(names) = &self.shared.context.generated else {
            return Ok(template);
        };
        for call in template.uses().functions.iter().filter(|call| &*call.name == "build") {
            if let [Some(Value::String(name))] = call.arguments.as_slice()
                && !names.contains(&**name)
            {
                let kind = ErrorKind::Call {
                    function: "build".to_owned(),
                    message: functions::no_generated_value(name),
                };
                return Err(Error::new(kind, call.span, source));
            }
        }
        Ok(template)
    }

    fn unknown_fields(&self, template: &Template) -> Vec<(String, Span)> {
        if self.shared.context.data != Value::Absent {
            return Vec::new();
        }
        let fields = template.uses().fields.into_iter().filter(|field| !field.inner);
        fields.map(|field| (format!(".{}", field.path.join(".")), field.span)).collect()
    }

    /// What is wrong with a string that did not settle. `at` gives places in it.
    #[must_use]
    pub fn unsettled(
        &self,
        why: &Unsettled,
        at: impl Fn(Span) -> Option<Location>,
        source: &str,
    ) -> Diagnostic {
        let whole = Span { start: 0, end: source.len() };
        let (message, span, hint) = match why {
            Unsettled::Wrong(error) => (error.kind.to_string(), error.span, self.hint(error)),
            Unsettled::Later(error) => (error.kind.to_string(), whole, self.hint(error)),
            Unsettled::Endless => {
                let message = format!("this changes each of {ROUNDS} times that it is rendered");
                (message, whole, Some("a variable in it gives a template that uses it again".to_owned()))
            }
            Unsettled::TooLong => {
                let message =
                    format!("this grows to more than {LONGEST} bytes when it is rendered again and again");
                (message, whole, Some("a variable in it gives a template that uses it again".to_owned()))
            }
        };
        Diagnostic { location: at(span), ..Diagnostic::error(message) }.maybe_hint(hint)
    }

    /// What to do about an error of this renderer's.
    #[must_use]
    pub fn hint(&self, error: &Error) -> Option<String> {
        let hint = match &error.kind {
            ErrorKind::UnknownFunction { name } if name.starts_with("clean_") => {
                "`clean_resource_name` is there in builders for Amazon, Azure and Google".to_owned()
            }
            ErrorKind::UnknownFunction { name } => {
                let names = self.functions.names().chain(Functions::builtin_names().iter().copied());
                match did_you_mean(name, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "text with `{{` that is no template is written `{{\"{{\"}}`".to_owned(),
                }
            }
            ErrorKind::Call { function, .. } => match self.shared.state().hint.clone() {
                Some(hint) => hint,
                None => functions::hint(function, &self.shared.context)?,
            },
            _ => return None,
        };
        Some(hint)
    }

    /// Gives a user variable a value.
    pub(crate) fn define(&mut self, name: &str, value: String) {
        self.shared.state().user.get_or_insert_default().insert(name.to_owned(), value);
    }

    pub(crate) fn has_user(&self, name: &str) -> bool {
        self.user_names().any(|other| other == name)
    }

    pub(crate) fn user_names(&self) -> impl Iterator<Item = &str> {
        self.shared.context.user.iter().flat_map(|user| user.keys().map(String::as_str))
    }

    /// The user variables that have values.
    pub(crate) fn into_user(self) -> BTreeMap<String, String> {
        self.shared.state().user.take().unwrap_or_default()
    }

    /// The user variable whose lack made the last rendering of a variable fail.
    pub(crate) fn missing(&self) -> Option<String> {
        self.shared.state().missing.clone()
    }
}

impl Reads {
    /// Adds what another rendering asked for.
    pub fn merge(&mut self, other: Self) {
        self.environment.extend(other.environment);
        self.user.extend(other.user);
        self.secrets.extend(other.secrets);
        self.clock |= other.clock;
        self.random |= other.random;
        self.folder |= other.folder;
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("started", &self.started).finish_non_exhaustive()
    }
}
