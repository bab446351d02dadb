//! Rules: calling one in a `BUILD.star` declares a target.

use std::fmt;
use std::sync::{Arc, OnceLock};

use allocative::Allocative;
use imgbuild_model::{AttributeValue, Location, RuleId, Target, TargetName, Value as Data, Visibility};
use starlark::eval::{Arguments, Evaluator};
use starlark::starlark_complex_values;
use starlark::values::list::ListRef;
use starlark::values::{
    Freeze, FreezeResult, Freezer, FrozenValue, NoSerialize, ProvidesStaticType, StarlarkPagablePanic,
    StarlarkValue, Trace, Value, ValueLifetimeless, ValueLike, starlark_value,
};

use crate::attribute::Attribute;
use crate::context::{Context, PackageContext};
use crate::error::{Problem, did_you_mean};
use crate::visibility;

/// What is known of a rule without running it.
#[derive(Debug)]
pub(crate) struct RuleInfo {
    id: OnceLock<RuleId>,
    /// Attributes by name, in the order declared; `tags` is the last.
    pub(crate) attributes: Vec<(Arc<str>, Attribute)>,
    pub(crate) doc: String,
}

impl RuleInfo {
    pub(crate) fn new(attributes: Vec<(Arc<str>, Attribute)>, doc: String) -> Self {
        Self { id: OnceLock::new(), attributes, doc }
    }

    pub(crate) fn id(&self) -> Option<&RuleId> {
        self.id.get()
    }

    pub(crate) fn name(&self) -> &str {
        self.id.get().map_or("rule", |id| &id.name)
    }
}

/// A rule.
#[derive(Debug, Trace, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct RuleGen<V: ValueLifetimeless> {
    pub(crate) implementation: V,
    pub(crate) combine: Option<V>,
    #[allocative(skip)]
    #[trace(unsafe_ignore)]
    pub(crate) info: Arc<RuleInfo>,
}

pub(crate) type Rule<'v> = RuleGen<Value<'v>>;
pub(crate) type FrozenRule = RuleGen<FrozenValue>;
starlark_complex_values!(Rule);

impl<'v> Freeze for Rule<'v> {
    type Frozen = FrozenRule;

    fn freeze(self, freezer: &Freezer) -> FreezeResult<FrozenRule> {
        Ok(FrozenRule {
            implementation: self.implementation.freeze(freezer)?,
            combine: self.combine.freeze(freezer)?,
            info: self.info,
        })
    }
}

#[starlark_value(type = "rule")]
impl<'v, V: ValueLike<'v> + 'v> StarlarkValue<'v> for RuleGen<V>
where
    Self: ProvidesStaticType<'v>,
{
    type Canonical = FrozenRule;

    fn export_as(&self, variable_name: &str, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<()> {
        if let Some(module) = Context::of(eval).module() {
            let id = RuleId { module: module.shared().clone(), name: variable_name.into() };
            // A second name for the same rule changes nothing.
            let _first_wins = self.info.id.set(id);
        }
        Ok(())
    }

    fn name_for_call_stack(&self, _me: Value<'v>) -> String {
        self.info.name().to_owned()
    }

    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let context = Context::of(eval);
        let package = context.in_package(self.info.name())?;
        let heap = eval.heap();
        let declaration = Declaration { info: &self.info, context, package };
        if let Some(first) = args.positions(heap)?.next() {
            let name = first.unpack_str().unwrap_or("...");
            return Err(Problem::new(format!("`{}` takes its attributes by name", self.info.name()))
                .hint(format!("write `{}(name = \"{name}\")`", self.info.name()))
                .into());
        }
        let named = args.names_map()?;
        let written: Vec<(&str, Value<'v>)> =
            named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        declaration.declare(&written, context.written_at(eval));
        Ok(Value::new_none())
    }
}

/// One call of a rule. What is wrong with it is kept with the package, so that the rest of the file is still read.
struct Declaration<'a, 'e> {
    info: &'a RuleInfo,
    context: &'a Context<'e>,
    package: &'a PackageContext<'e>,
}

impl Declaration<'_, '_> {
    fn declare(&self, written: &[(&str, Value<'_>)], location: Location) {
        let report = |problem: Problem| {
            self.package.errors.borrow_mut().push(problem.at(location.clone()));
        };
        let rule = self.info.name();
        let Some(id) = self.info.id() else {
            return report(
                Problem::new("this rule has no name")
                    .hint("assign it to a name at the top of a `.star` file: `my_rule = rule(...)`"),
            );
        };
        let mut sound = true;
        let mut given: Vec<Option<Value<'_>>> = vec![None; self.info.attributes.len()];
        let (mut name, mut visible) = (None, None);
        for (key, value) in written {
            match *key {
                "name" => name = Some(*value),
                "visibility" => visible = Some(*value),
                key => match self.info.attributes.iter().position(|(known, _)| &**known == key) {
                    Some(index) => given[index] = Some(*value),
                    None => {
                        sound = false;
                        report(self.unknown(key));
                    }
                },
            }
        }
        let name = match self.name(name) {
            Ok(name) => name,
            Err(problem) => return report(problem),
        };
        let visibility = match visible.map(|value| self.visibility(value)).transpose() {
            Ok(visibility) => visibility,
            Err(problem) => {
                sound = false;
                report(problem);
                None
            }
        };
        let mut attributes = Vec::with_capacity(given.len());
        for ((key, attribute), value) in self.info.attributes.iter().zip(given) {
            let coerced = match value {
                Some(value) => attribute
                    .coerce(value, self.context)
                    .map_err(|problem| problem.within(&format!("attribute `{key}` of `{rule}`"))),
                None if attribute.mandatory => {
                    Err(Problem::new(format!("`{rule}` needs the attribute `{key}`"))
                        .hint(format!("`{key}` is of type {}", attribute.kind)))
                }
                None => Ok(AttributeValue::Concrete(attribute.default.clone())),
            };
            match coerced {
                Ok(value) => attributes.push((key.clone(), value)),
                Err(problem) => {
                    sound = false;
                    report(problem);
                }
            }
        }
        if let Some(first) = self.package.targets.borrow().get(&name) {
            let label = &first.label;
            return report(
                Problem::new(format!("`{label}` is declared twice"))
                    .note("first declared here", Some(first.location.clone()))
                    .hint("give one of the two another name"),
            );
        }
        if sound {
            let label = imgbuild_model::Label::new(self.package.package.clone(), name.clone());
            let visibility = visibility
                .or_else(|| self.package.default_visibility.borrow().clone())
                .unwrap_or(Visibility::Private);
            let target = Target { label, rule: id.clone(), attributes, visibility, location };
            self.package.targets.borrow_mut().insert(name, Arc::new(target));
        }
    }

    fn unknown(&self, key: &str) -> Problem {
        let rule = self.info.name();
        let known = || {
            let own = self.info.attributes.iter().map(|(name, _)| &**name);
            ["name", "visibility"].into_iter().chain(own)
        };
        Problem::new(format!("`{rule}` has no attribute `{key}`")).maybe_hint(
            did_you_mean(key, known()).or_else(|| {
                let known = known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                Some(format!("it has {known}"))
            }),
        )
    }

    fn name(&self, value: Option<Value<'_>>) -> Result<TargetName, Problem> {
        let rule = self.info.name();
        let value = value.ok_or_else(|| {
            Problem::new(format!("`{rule}` needs a name"))
                .hint(format!("write `{rule}(name = \"...\", ...)`"))
        })?;
        let text = value.unpack_str().ok_or_else(|| {
            Problem::new(format!("attribute `name` of `{rule}`: expected string, got {}", value.get_type()))
        })?;
        let name = TargetName::new(text)?;
        if text.contains('[') {
            return Err(Problem::new(format!("`{text}` cannot be declared"))
                .hint("names with brackets are those of the builds of a template"));
        }
        Ok(name)
    }

    fn visibility(&self, value: Value<'_>) -> Result<Visibility, Problem> {
        parse_visibility(value, self.package)
            .map_err(|problem| problem.within(&format!("attribute `visibility` of `{}`", self.info.name())))
    }
}

/// Reads a `visibility`.
pub(crate) fn parse_visibility(
    value: Value<'_>,
    package: &PackageContext<'_>,
) -> Result<Visibility, Problem> {
    let wrong =
        |found: Value<'_>, wanted: &str| Problem::new(format!("expected {wanted}, got {}", found.get_type()));
    let items = ListRef::from_value(value).ok_or_else(|| {
        let problem = wrong(value, "list of string");
        match value.unpack_str() {
            Some(text) => problem.hint(format!("write `[\"{text}\"]`")),
            None => problem,
        }
    })?;
    let items = items
        .iter()
        .map(|item| item.unpack_str().ok_or_else(|| wrong(item, "string")))
        .collect::<Result<Vec<_>, _>>()?;
    visibility::parse(&items, &package.package)
}

impl<V: ValueLifetimeless> fmt::Display for RuleGen<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<rule {}>", self.info.name())
    }
}

/// The attribute `tags`, which every rule has.
pub(crate) fn tags() -> Attribute {
    Attribute {
        kind: crate::attribute::AttributeKind::List(Box::new(crate::attribute::AttributeKind::String)),
        default: Data::list([]),
        mandatory: false,
        selectable: false,
        doc: "Words to find the target by in a query.".to_owned(),
    }
}
