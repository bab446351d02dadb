//! Loading of `.star` files: each once, by whichever thread comes first.
//!
//! A thread that needs a file which another one is loading waits for it. So that threads never wait in a circle, each
//! file that is being loaded says which file it waits for; who would close a circle reports the cycle instead.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Condvar, LazyLock, Mutex, OnceLock, PoisonError};

use imgbuild_model::{Class, Diagnostic, Diagnostics, Files, Location, Note, Read};
use starlark::environment::{FrozenModule, Globals, GlobalsBuilder, LibraryExtension, Module};
use starlark::eval::{Evaluator, FileLoader};
use starlark::syntax::{AstModule, Dialect, DialectTypes};
use starlark::values::{FrozenHeapName, FrozenValue};

use crate::context::{Context, ModuleContext};
use crate::error::{Problem, diagnostic_in, location};
use crate::limits::Limits;
use crate::module_id::{Folder, ModuleId};
use crate::{natives, nesting, prelude};

/// A file that was loaded.
pub(crate) struct Loaded {
    pub(crate) module: FrozenModule,
    /// The files of the workspace that it and what it loads were read from.
    pub(crate) reads: BTreeSet<Read>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Why a file was not loaded.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) diagnostics: Diagnostics,
    /// The files of the cycle, if it is one: they are in the message already.
    cycle: Arc<[ModuleId]>,
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self { diagnostics, cycle: Arc::from([]) }
    }
}

enum Entry {
    Loading,
    Ready(Arc<Loaded>),
    Failed(Failure),
}

#[derive(Default)]
struct State {
    entries: HashMap<ModuleId, Entry>,
    /// What each file that is being loaded waits for, and where it says so.
    waits: HashMap<ModuleId, (ModuleId, Location)>,
}

/// The files that were loaded, shared by all threads.
pub(crate) struct Loader {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
    globals: OnceLock<Globals>,
}

/// The dialect of all files.
pub(crate) fn dialect() -> Dialect {
    Dialect {
        enable_keyword_only_arguments: true,
        enable_positional_only_arguments: true,
        enable_types: DialectTypes::Enable,
        enable_load_reexport: true,
        enable_top_level_stmt: true,
        enable_f_strings: true,
        ..Dialect::Standard
    }
}

/// The modules that a file's `load()` statements name, by what is written there.
#[derive(Default)]
pub(crate) struct Imports(HashMap<String, FrozenModule>);

impl FileLoader for Imports {
    fn load(&self, path: &str) -> starlark::Result<FrozenModule> {
        self.0.get(path).cloned().ok_or_else(|| Problem::new(format!("`{path}` was not loaded")).into())
    }
}

/// A file that was parsed and whose imports were loaded.
pub(crate) struct Prepared {
    pub(crate) ast: AstModule,
    pub(crate) imports: Imports,
    pub(crate) reads: BTreeSet<Read>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Loader {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), changed: Condvar::new(), globals: OnceLock::new() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What every file of the workspace sees: the language, the primitives, and the prelude's public names.
    pub(crate) fn globals(&self, files: &dyn Files) -> Result<&Globals, Diagnostics> {
        if let Some(globals) = self.globals.get() {
            return Ok(globals);
        }
        let loaded = self.module(&ModuleId::prelude_main(), files).map_err(|Diagnostics(errors)| {
            // The user did not write it.
            Diagnostics(errors.into_iter().map(|error| error.class(Class::Bug)).collect())
        })?;
        let mut builder = GlobalsBuilder::new();
        builder.frozen_heap().add_reference(base_globals().heap());
        for (name, value) in base_globals().iter() {
            builder.set(name, value);
        }
        builder.frozen_heap().add_reference(loaded.module.frozen_heap());
        for name in loaded.module.names() {
            let name = name.as_str();
            let value = loaded.module.get(name).map_err(|error| bug(error.to_string()))?;
            // SAFETY: the builder's heap holds a reference to the heap that owns the value.
            let value: FrozenValue = unsafe { value.unchecked_frozen_value() };
            builder.set(name, value);
        }
        Ok(self.globals.get_or_init(|| builder.build()))
    }

    /// The file of that name, if it was loaded.
    pub(crate) fn loaded(&self, id: &ModuleId) -> Option<Arc<Loaded>> {
        match self.lock().entries.get(id) {
            Some(Entry::Ready(loaded)) => Some(loaded.clone()),
            _ => None,
        }
    }

    /// The file of that name, loaded now if it was not yet.
    pub(crate) fn module(&self, id: &ModuleId, files: &dyn Files) -> Result<Arc<Loaded>, Diagnostics> {
        self.load(id, None, files).map_err(|failure| failure.diagnostics)
    }

    /// Parses a file and loads what it loads.
    ///
    /// `id` is the file itself, if it can be loaded in turn.
    pub(crate) fn prepare(
        &self,
        name: &str,
        text: &str,
        folder: Folder<'_>,
        id: Option<&ModuleId>,
        files: &dyn Files,
    ) -> Result<Prepared, Failure> {
        nesting::check(name, text)?;
        let ast = AstModule::parse(name, text.to_owned(), &dialect())
            .map_err(|error| Diagnostics::from(diagnostic_in(name, &error)))?;
        let (mut imports, mut reads, mut warnings) = (Imports::default(), BTreeSet::new(), Vec::new());
        let mut errors = Vec::new();
        for load in ast.loads() {
            let place = location(&load.span);
            let wanted = match ModuleId::parse(load.module_id, folder) {
                Ok(wanted) => wanted,
                Err((message, hint)) => {
                    errors.push(Diagnostic::error(message).at(place).hint(hint));
                    continue;
                }
            };
            match self.load(&wanted, Some((id, &place)), files) {
                Ok(loaded) => {
                    reads.extend(loaded.reads.iter().cloned());
                    warnings.extend(loaded.warnings.iter().cloned());
                    imports.0.insert(load.module_id.to_owned(), loaded.module.clone());
                }
                Err(mut failure) => {
                    if id.is_none_or(|id| !failure.cycle.contains(id)) {
                        let note =
                            Note { text: format!("loaded by `{name}`"), location: Some(place.clone()) };
                        for diagnostic in &mut failure.diagnostics.0 {
                            match diagnostic.location {
                                Some(_) => diagnostic.notes.push(note.clone()),
                                None => diagnostic.location = Some(place.clone()),
                            }
                        }
                    }
                    if !failure.cycle.is_empty() {
                        return Err(failure);
                    }
                    // What two loads lead to is told once.
                    let is_new = |diagnostic: &Diagnostic| {
                        !errors.iter().any(|known: &Diagnostic| {
                            known.message == diagnostic.message && known.location == diagnostic.location
                        })
                    };
                    let new = failure.diagnostics.0.into_iter().filter(is_new).collect::<Vec<_>>();
                    errors.extend(new);
                }
            }
        }
        if !errors.is_empty() {
            return Err(Diagnostics(errors).into());
        }
        Ok(Prepared { ast, imports, reads, warnings })
    }

    /// The file of that name, loaded now if it was not yet. `by` is the file that loads it, and where.
    fn load(
        &self,
        id: &ModuleId,
        by: Option<(Option<&ModuleId>, &Location)>,
        files: &dyn Files,
    ) -> Result<Arc<Loaded>, Failure> {
        let waiting = by.and_then(|(loader, place)| loader.map(|loader| (loader, place)));
        let mut state = self.lock();
        if let Some((loader, place)) = waiting {
            state.waits.insert(loader.clone(), (id.clone(), place.clone()));
        }
        let mut missing = false;
        let found = loop {
            match state.entries.get(id) {
                Some(Entry::Ready(loaded)) => break Ok(loaded.clone()),
                Some(Entry::Failed(failure)) => break Err(failure.clone()),
                None => {
                    state.entries.insert(id.clone(), Entry::Loading);
                    missing = true;
                    break Err(Failure::from(Diagnostics::default()));
                }
                Some(Entry::Loading) => {
                    if let Some((loader, _)) = waiting
                        && let Some(failure) = cycle(&state, loader)
                    {
                        break Err(failure);
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(state);
        let result = if missing { self.finish(id, files) } else { found };
        if let Some((loader, _)) = waiting {
            self.lock().waits.remove(loader);
        }
        result
    }

    /// Loads a file that is marked as being loaded, and tells those who wait for it.
    fn finish(&self, id: &ModuleId, files: &dyn Files) -> Result<Arc<Loaded>, Failure> {
        // Whatever happens, nobody must wait for ever.
        let mut guard = Unfinished { loader: self, id, entry: None };
        let result = self.evaluate(id, files).map(Arc::new);
        guard.entry = Some(match &result {
            Ok(loaded) => Entry::Ready(loaded.clone()),
            Err(failure) => Entry::Failed(failure.clone()),
        });
        result
    }

    fn evaluate(&self, id: &ModuleId, files: &dyn Files) -> Result<Loaded, Failure> {
        let package = id.package();
        let folder = match &package {
            Some(package) => Folder::Workspace(package),
            None => Folder::Prelude,
        };
        let mut own = None;
        let text = match id.path() {
            Some(path) => {
                let text = files.read(&path).map_err(|error| Diagnostics::from(unreadable(id, &error)))?;
                own = Some(Read::File(path));
                text
            }
            None => prelude::text(id.in_prelude().unwrap_or_default()).map(Arc::from).ok_or_else(|| {
                let known = prelude::names();
                Diagnostics::from(
                    Diagnostic::error(format!("there is no file `{id}`"))
                        .maybe_hint(crate::error::did_you_mean(id.in_prelude().unwrap_or_default(), known)),
                )
            })?,
        };
        let prepared = self.prepare(id.file_name(), &text, folder, Some(id), files)?;
        let globals = if package.is_some() { self.globals(files)? } else { base_globals() };
        let context = Context::Module(ModuleContext {
            id: id.clone(),
            package: package.clone(),
            warnings: RefCell::new(prepared.warnings),
        });
        let module = Module::with_temp_heap(|module| {
            {
                let mut eval = Evaluator::new(&module);
                self.limits.apply(&mut eval);
                eval.set_loader(&prepared.imports);
                eval.extra = Some(&context);
                eval.eval_module(prepared.ast, globals)
                    .map_err(|error| Diagnostics::from(diagnostic_in(id.file_name(), &error)))?;
            }
            module
                .freeze_named(FrozenHeapName::User(Box::new(id.as_str().to_owned())))
                .map_err(|error| bug(format!("cannot freeze `{id}`: {error:?}")))
        })?;
        let Context::Module(context) = context else { unreachable!("it was made a few lines above") };
        let mut reads = prepared.reads;
        reads.extend(own);
        Ok(Loaded { module, reads, warnings: context.warnings.into_inner() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is whole after each statement, so that a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the mark of a file that is being loaded away again, also when its loading panics.
struct Unfinished<'a> {
    loader: &'a Loader,
    id: &'a ModuleId,
    entry: Option<Entry>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let entry = self.entry.take().unwrap_or_else(|| {
            Entry::Failed(bug(format!("loading `{}` ended without a result", self.id)).into())
        });
        self.loader.lock().entries.insert(self.id.clone(), entry);
        self.loader.changed.notify_all();
    }
}

/// The circle of waiting that `start` is in, if it is in one.
fn cycle(state: &State, start: &ModuleId) -> Option<Failure> {
    let mut path: Vec<(&ModuleId, &Location)> = Vec::new();
    let mut at = start;
    loop {
        let (next, place) = state.waits.get(at)?;
        path.push((at, place));
        if next == start {
            break;
        }
        // A circle that `start` only leads to is reported by one of its own files.
        if path.iter().any(|(id, _)| *id == next) {
            return None;
        }
        at = next;
    }
    // Whoever finds it, it is told in one way: from its smallest name on.
    let first = path.iter().enumerate().min_by_key(|(_, (id, _))| *id).map_or(0, |(index, _)| index);
    path.rotate_left(first);
    let names = path.iter().chain(path.first()).map(|(id, _)| format!("`{id}`")).collect::<Vec<_>>();
    let mut diagnostic = Diagnostic::error(format!("files load each other: {}", names.join(" → ")))
        .at(path[0].1.clone())
        .hint("move what they share into a file of its own");
    for (id, place) in &path[1..] {
        diagnostic = diagnostic.note(format!("`{id}` loads the next one here"), Some((*place).clone()));
    }
    let cycle = path.iter().map(|(id, _)| (*id).clone()).collect();
    Some(Failure { diagnostics: diagnostic.into(), cycle })
}

fn unreadable(id: &ModuleId, error: &io::Error) -> Diagnostic {
    let name = id.file_name();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Diagnostic::error(format!("there is no file `{name}`"))
        }
        io::ErrorKind::InvalidData => Diagnostic::error(format!("`{name}` is not text in UTF-8")),
        _ => Diagnostic::error(format!("cannot read `{name}`: {error}")).class(Class::Environment),
    }
}

fn bug(message: impl Into<String>) -> Diagnostics {
    Diagnostic::error(message).class(Class::Bug).into()
}

/// The language and the primitives. Made once: the evaluator reads the doc of each function when it is added.
pub(crate) fn base_globals() -> &'static Globals {
    static BASE: LazyLock<Globals> = LazyLock::new(|| {
        GlobalsBuilder::extended_by(&[
            LibraryExtension::StructType,
            LibraryExtension::Map,
            LibraryExtension::Filter,
            LibraryExtension::Partial,
            LibraryExtension::Json,
            LibraryExtension::Typing,
            LibraryExtension::SetType,
        ])
        .with(natives::add)
        .build()
    });
    &BASE
}
