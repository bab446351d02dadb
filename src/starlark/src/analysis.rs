//! Analysis: runs a rule's implementation for one target and collects what it declares.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use imgbuild_model::{
    Action, ActionRef, Analysis, AnalysisRequest, Attributes, Class, Configuration, Dependency, Diagnostic,
    Diagnostics, Label, Platform, Provider, Source, Step, Target, Value as Data,
};
use starlark::environment::Module;
use starlark::eval::Evaluator;
use starlark::values::list::{AllocList, ListRef};
use starlark::values::structs::AllocStruct;
use starlark::values::{Heap, OwnedFrozenValueTyped, Value};

use crate::actions::ActionsValue;
use crate::attribute::AttributeKind;
use crate::builtin;
use crate::context::Context;
use crate::error::{Problem, diagnostic};
use crate::limits::Limits;
use crate::module_id::PRELUDE;
use crate::resolve::Resolver;
use crate::values::convert::to_starlark;
use crate::values::dependency::DependencyValue;
use crate::values::plain::{ArtifactValue, LabelValue, SourceValue, StepValue};
use crate::values::provider::ProviderValue;
use crate::values::rule::FrozenRule;

/// What the native functions know while an implementation runs.
pub(crate) struct AnalysisContext<'e> {
    pub(crate) target: &'e Target,
    pub(crate) configuration: &'e Configuration,
    pub(crate) actions: RefCell<Vec<Arc<Action>>>,
    /// The names of outputs that were declared.
    pub(crate) outputs: RefCell<BTreeSet<Arc<str>>>,
    /// The index of the first action.
    pub(crate) first: u32,
    /// Whether it is the `combine` function that runs.
    pub(crate) combines: bool,
}

impl AnalysisContext<'_> {
    /// Adds an action.
    pub(crate) fn declare(&self, action: Action) -> Arc<ActionRef> {
        let mut actions = self.actions.borrow_mut();
        let index = u32::try_from(actions.len()).expect("the limit on ticks is far lower");
        actions.push(Arc::new(action));
        Arc::new(ActionRef {
            label: self.target.label.clone(),
            configuration: self.configuration.clone(),
            index: self.first + index,
        })
    }
}

/// Runs the rule's `implementation`, or its `combine` if the request has results to join.
pub(crate) fn analyze(
    limits: &Limits,
    rule: &OwnedFrozenValueTyped<FrozenRule>,
    request: &AnalysisRequest<'_>,
) -> Result<Analysis, Diagnostics> {
    let target = request.target;
    let at_target = |problem: Problem| Diagnostics::from(problem.at(target.location.clone()));
    let frozen = rule.as_ref();
    let function = match request.combine {
        None => frozen.implementation,
        Some(_) => frozen.combine.ok_or_else(|| {
            at_target(
                Problem::new(format!(
                    "`{}` is for several platforms, and `{}` cannot join them",
                    target.label,
                    frozen.info.name()
                ))
                .hint("ask for one platform with `--platform`"),
            )
        })?,
    };
    let context = Context::Analysis(AnalysisContext {
        target,
        configuration: request.configuration,
        actions: RefCell::default(),
        outputs: RefCell::default(),
        first: if request.combine.is_some() { ActionRef::COMBINED } else { 0 },
        combines: request.combine.is_some(),
    });
    let resolver = Resolver { dependencies: request.dependencies, partial: request.combine.is_some() };
    let providers = Module::with_temp_heap(|module| {
        module.frozen_heap().add_reference(rule.owner());
        let heap = module.heap();
        let ctx = make_ctx(heap, &resolver, frozen, request).map_err(|error| match error {
            Unresolved::Here(problem) => at_target(problem),
            Unresolved::At(diagnostic) => Diagnostics::from(*diagnostic),
        })?;
        let mut eval = Evaluator::new(&module);
        limits.apply(&mut eval);
        eval.extra = Some(&context);
        let returned = eval
            .eval_function(function.to_value(), &[ctx], &[])
            .map_err(|error| Diagnostics::from(in_implementation(diagnostic(&error), target)))?;
        providers(returned, frozen.info.name()).map_err(at_target)
    })?;
    let Context::Analysis(context) = context else { unreachable!("it was made a few lines above") };
    Ok(Analysis { providers, actions: context.actions.into_inner() })
}

/// An error of an implementation, which the user may not have written: the target is named too, and stands in for a
/// place inside the prelude.
fn in_implementation(mut diagnostic: Diagnostic, target: &Target) -> Diagnostic {
    let declared = target.location.clone();
    let in_prelude = diagnostic.location.as_ref().is_none_or(|place| place.file.starts_with(PRELUDE));
    if in_prelude {
        if let Some(place) = diagnostic.location.replace(declared) {
            diagnostic = diagnostic.note("raised here", Some(place));
        }
        diagnostic
    } else {
        diagnostic.note(format!("`{}` is declared here", target.label), Some(declared))
    }
}

/// Why an attribute has no value for the implementation.
pub(crate) enum Unresolved {
    /// The place is the target's.
    Here(Problem),
    /// The place is known better.
    At(Box<Diagnostic>),
}

impl From<Problem> for Unresolved {
    fn from(problem: Problem) -> Self {
        Self::Here(problem)
    }
}

fn make_ctx<'v>(
    heap: Heap<'v>,
    resolver: &Resolver<'_>,
    rule: &FrozenRule,
    request: &AnalysisRequest<'_>,
) -> Result<Value<'v>, Unresolved> {
    let mut attributes = Vec::with_capacity(rule.info.attributes.len());
    for (name, attribute) in &rule.info.attributes {
        let data = request.attributes.get(name).unwrap_or(&attribute.default);
        let value = value_of(heap, resolver, &attribute.kind, data).map_err(|error| match error {
            Unresolved::Here(problem) => {
                Unresolved::Here(problem.within(&format!("attribute `{name}` of `{}`", rule.info.name())))
            }
            located => located,
        })?;
        attributes.push((&**name, value));
    }
    let attributes = heap.alloc(AllocStruct(attributes));
    let label = heap.alloc(LabelValue(request.target.label.clone()));
    let actions = heap.alloc(ActionsValue);
    let platform = platform(heap, &request.configuration.platform);
    let mut fields =
        vec![("actions", actions), ("attrs", attributes), ("label", label), ("platform", platform)];
    if let Some(results) = request.combine {
        let results = results.iter().map(|(of, analysis)| {
            let target = DependencyValue(Dependency {
                label: request.target.label.clone(),
                providers: analysis.providers.clone(),
            });
            let fields = [("platform", self::platform(heap, of)), ("target", heap.alloc(target))];
            heap.alloc(AllocStruct(fields))
        });
        fields.push(("results", heap.alloc(AllocList(results))));
    }
    Ok(heap.alloc(AllocStruct(fields)))
}

fn platform<'v>(heap: Heap<'v>, platform: &Platform) -> Value<'v> {
    let name = platform.to_string();
    let fields = [("arch", platform.architecture.oci_name()), ("name", &name), ("os", "linux")];
    heap.alloc(AllocStruct(fields))
}

/// What an implementation sees of an attribute.
fn value_of<'v>(
    heap: Heap<'v>,
    resolver: &Resolver<'_>,
    kind: &AttributeKind,
    data: &Data,
) -> Result<Value<'v>, Unresolved> {
    Ok(match (kind, data) {
        (AttributeKind::Label(providers), Data::Label(label)) => match resolver.dependency(label)? {
            Some(dependency) => {
                for id in providers.iter() {
                    if crate::values::dependency::provider(dependency, id).is_none() {
                        return Err(crate::values::dependency::missing(dependency, id).into());
                    }
                }
                heap.alloc(DependencyValue(dependency.clone()))
            }
            None => heap.alloc(LabelValue(label.clone())),
        },
        (AttributeKind::Source, Data::Label(label)) => match resolver.file(label)? {
            Some(artifact) => heap.alloc(ArtifactValue(artifact)),
            None => heap.alloc(LabelValue(label.clone())),
        },
        (AttributeKind::Sources, Data::List(items)) => {
            let files = resolver.files(items)?;
            heap.alloc(AllocList(files.iter().map(|file| to_starlark(heap, file))))
        }
        (AttributeKind::List(inner), Data::List(items)) => {
            let items = items
                .iter()
                .map(|item| value_of(heap, resolver, inner, item))
                .collect::<Result<Vec<_>, _>>()?;
            heap.alloc(AllocList(items))
        }
        (AttributeKind::Dict(inner), Data::Dict(entries)) => {
            let entries = entries
                .iter()
                .map(|(key, value)| Ok((&**key, value_of(heap, resolver, inner, value)?)))
                .collect::<Result<Vec<_>, Unresolved>>()?;
            heap.alloc(starlark::values::dict::AllocDict(entries))
        }
        (AttributeKind::Step(_), Data::Step(step)) => heap.alloc(StepValue(resolver.step(step)?)),
        (AttributeKind::Steps(_), Data::List(items)) => {
            let mut steps = Vec::with_capacity(items.len());
            for item in items.iter() {
                if let Data::Step(step) = item {
                    steps.push(heap.alloc(StepValue(resolver.step(step)?)));
                }
            }
            heap.alloc(AllocList(steps))
        }
        (AttributeKind::Chain, Data::Source(source)) => heap.alloc(SourceValue(resolver.source(source)?)),
        (_, data) => to_starlark(heap, data),
    })
}

/// The providers that an implementation returned.
fn providers(returned: Value<'_>, rule: &str) -> Result<Arc<[Arc<Provider>]>, Problem> {
    let hint = "return a list, for example `[DefaultInfo(files = [...])]`";
    let items = ListRef::from_value(returned).ok_or_else(|| {
        Problem::new(format!(
            "the implementation of `{rule}` returned {}, not a list of providers",
            returned.get_type()
        ))
        .hint(hint)
    })?;
    let mut providers: Vec<Arc<Provider>> = Vec::with_capacity(items.len() + 1);
    for item in items.iter() {
        let provider = ProviderValue::from_value(item).ok_or_else(|| {
            Problem::new(format!(
                "the implementation of `{rule}` returned a list with a value of type {} in it",
                item.get_type()
            ))
            .hint(hint)
        })?;
        if providers.iter().any(|known| known.id == provider.0.id) {
            return Err(Problem::new(format!(
                "the implementation of `{rule}` returned `{}` twice",
                provider.0.id.name
            )));
        }
        if provider.0.id == builtin::default_info() {
            check_files(&provider.0)?;
        }
        providers.push(provider.0.clone());
    }
    // What depends on a target may always ask for its files.
    if !providers.iter().any(|provider| provider.id == builtin::default_info()) {
        providers.insert(0, builtin::files_info(Vec::new()));
    }
    Ok(providers.into())
}

fn check_files(info: &Provider) -> Result<(), Problem> {
    let wrong = |found: &Data| {
        Problem::new(format!("`DefaultInfo.files` is a list of artifacts, not {}", found.type_name()))
    };
    match info.field("files") {
        Some(Data::List(items)) => match items.iter().find(|item| !matches!(item, Data::Artifact(_))) {
            Some(item) => Err(wrong(item)),
            None => Ok(()),
        },
        Some(other) => Err(wrong(other).hint("write `DefaultInfo(files = [])` for none")),
        None => Ok(()),
    }
}

/// An error of the caller: a label was not followed.
pub(crate) fn not_analyzed(label: &Label) -> Unresolved {
    Unresolved::At(Box::new(
        Diagnostic::error(format!("the dependency `{label}` was not analyzed first")).class(Class::Bug),
    ))
}

/// A step whose labels have become artifacts and layers.
pub(crate) fn with_attributes(step: &Step, attributes: Attributes) -> Arc<Step> {
    Arc::new(Step { kind: step.kind.clone(), attributes, location: step.location.clone() })
}

/// A source whose labels have become artifacts.
pub(crate) fn source_with_attributes(source: &Source, attributes: Attributes) -> Arc<Source> {
    Arc::new(Source { kind: source.kind.clone(), attributes, location: source.location.clone() })
}
