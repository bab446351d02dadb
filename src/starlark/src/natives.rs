//! The functions that Starlark code is given: the primitives of rules, and the doors to the kinds' schemas.

use std::sync::{Arc, LazyLock};

use imgbuild_model::{Diagnostic, KindClass, Source, Step, Value as Data};
use starlark::environment::{Globals, GlobalsBuilder};
use starlark::eval::{Arguments, Evaluator};
use starlark::starlark_module;
use starlark::values::Value;
use starlark::values::dict::{DictRef, UnpackDictEntries};
use starlark::values::list::{AllocList, ListRef, UnpackList};
use starlark::values::none::NoneType;
use starlark::values::tuple::UnpackTuple;

use crate::attribute::{Attribute, AttributeKind, AttributeSpec};
use crate::builtin;
use crate::context::Context;
use crate::error::Problem;
use crate::schema;
use crate::values::convert::to_data;
use crate::values::plain::{SourceValue, StepValue};
use crate::values::provider::ProviderType;
use crate::values::rule::{Rule, RuleInfo, parse_visibility, tags};
use crate::values::select::SelectValue;

/// Adds what every file sees.
pub(crate) fn add(builder: &mut GlobalsBuilder) {
    functions(builder);
    builder.namespace("attrs", attributes);
    builder.namespace("native", kinds);
    builder.set(
        "DefaultInfo",
        ProviderType::built_in(
            builtin::default_info(),
            &[("files", "The artifacts that the target stands for.")],
            "What a target gives when nothing more is said: its files.",
        ),
    );
}

const RESERVED: [&str; 3] = ["name", "visibility", "tags"];

#[starlark_module]
fn functions(builder: &mut GlobalsBuilder) {
    /// Defines a rule: a function that declares targets of one sort. Assign it to a name at the top of a `.star` file.
    ///
    /// # Arguments
    /// * `implementation`: A function that takes `ctx` and returns a list of providers.
    /// * `attrs`: What each attribute takes, by name: `{"src": attrs.source(), ...}`.
    /// * `doc`: What the rule is for.
    /// * `combine`: A function that takes `ctx` and joins the results of several platforms (`ctx.results`).
    fn rule<'v>(
        implementation: Value<'v>,
        #[starlark(default = UnpackDictEntries::default())] attrs: UnpackDictEntries<&'v str, Value<'v>>,
        #[starlark(default = "")] doc: &str,
        combine: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if Context::of(eval).module().is_none() {
            return Err(Problem::new("a rule cannot be defined in a `BUILD.star`")
                .hint("define it in a `.star` file and `load()` it")
                .into());
        }
        check_function("implementation", implementation)?;
        let combine = combine.filter(|function| !function.is_none());
        if let Some(combine) = combine {
            check_function("combine", combine)?;
        }
        let mut declared: Vec<(Arc<str>, Attribute)> = Vec::with_capacity(attrs.entries.len() + 1);
        for (name, value) in attrs.entries {
            if RESERVED.contains(&name) {
                return Err(Problem::new(format!("every rule has the attribute `{name}`"))
                    .hint("give the attribute another name")
                    .into());
            }
            let spec = AttributeSpec::from_value(value).ok_or_else(|| {
                Problem::new(format!(
                    "attribute `{name}`: expected a type such as `attrs.string()`, got {}",
                    value.get_type()
                ))
            })?;
            declared.push((name.into(), spec.0.clone()));
        }
        declared.push(("tags".into(), tags()));
        let info = Arc::new(RuleInfo::new(declared, doc.to_owned()));
        Ok(eval.heap().alloc(Rule { implementation, combine, info }))
    }

    /// Defines a type of provider. Assign it to a name at the top of a `.star` file.
    ///
    /// # Arguments
    /// * `fields`: The names of its fields, as a list, or as a dict with what each means.
    /// * `doc`: What it is for.
    fn provider<'v>(
        fields: Value<'v>,
        #[starlark(default = "")] doc: &str,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<ProviderType> {
        if Context::of(eval).module().is_none() {
            return Err(Problem::new("a provider cannot be defined in a `BUILD.star`")
                .hint("define it in a `.star` file and `load()` it")
                .into());
        }
        let text = |value: Value<'v>| {
            value.unpack_str().ok_or_else(|| {
                Problem::new(format!(
                    "fields of a provider are named by strings, not by {}",
                    value.get_type()
                ))
            })
        };
        let fields = if let Some(names) = ListRef::from_value(fields) {
            names
                .iter()
                .map(|name| Ok((Arc::from(text(name)?), String::new())))
                .collect::<Result<_, Problem>>()?
        } else if let Some(entries) = DictRef::from_value(fields) {
            entries
                .iter()
                .map(|(name, doc)| Ok((Arc::from(text(name)?), text(doc)?.to_owned())))
                .collect::<Result<_, Problem>>()?
        } else {
            return Err(Problem::new(format!(
                "`fields` is a list of names or a dict, not {}",
                fields.get_type()
            ))
            .into());
        };
        Ok(ProviderType::new(fields, doc.to_owned()))
    }

    /// Chooses a value by configuration: the branch of the `config_setting` that holds, else that of
    /// `"//conditions:default"`. Can be joined to other values by `+`.
    ///
    /// # Arguments
    /// * `branches`: Values by the label of a `config_setting`.
    fn select<'v>(#[starlark(require = pos)] branches: Value<'v>) -> starlark::Result<SelectValue> {
        let branches = DictRef::from_value(branches)
            .ok_or_else(|| Problem::new(format!("`select()` takes a dict, not {}", branches.get_type())))?;
        Ok(SelectValue::new(&branches)?)
    }

    /// The files of this package that match a pattern, sorted. `*` and `?` match inside a name, `**` any number of
    /// folders; names that begin with a dot match only patterns that name the dot; folders with their own
    /// `BUILD.star` are left out.
    ///
    /// # Arguments
    /// * `include`: Patterns of files to take.
    /// * `exclude`: Patterns of files to leave out again.
    /// * `allow_empty`: Whether no match at all is well.
    fn glob<'v>(
        include: UnpackList<&'v str>,
        #[starlark(default = UnpackList::default())] exclude: UnpackList<&'v str>,
        #[starlark(default = false)] allow_empty: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let package = Context::of(eval).in_package("glob")?;
        let found = crate::glob::glob(package, &include.items, &exclude.items)?;
        if found.is_empty() && !allow_empty {
            let patterns =
                include.items.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
            return Err(Problem::new(format!("no file of `{}` matches {patterns}", package.package))
                .hint("mend the pattern, or say `allow_empty = True`")
                .into());
        }
        Ok(eval.heap().alloc(AllocList(found)))
    }

    /// Sets what holds for all targets of this package. Stands above all of them.
    ///
    /// # Arguments
    /// * `default_visibility`: The visibility of targets that do not say their own.
    fn package<'v>(
        #[starlark(require = named)] default_visibility: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<NoneType> {
        let package = Context::of(eval).in_package("package")?;
        if package.default_visibility.borrow().is_some() {
            return Err(Problem::new("`package()` is called twice")
                .hint("keep one call, at the top of the file")
                .into());
        }
        if !package.targets.borrow().is_empty() {
            return Err(Problem::new("`package()` stands below a target")
                .hint("move it to the top of the file")
                .into());
        }
        let visibility = parse_visibility(default_visibility, package)
            .map_err(|problem| problem.within("`default_visibility`"))?;
        *package.default_visibility.borrow_mut() = Some(visibility);
        Ok(NoneType)
    }

    /// Shows values as a warning, while files are loaded.
    fn print<'v>(
        #[starlark(args)] values: UnpackTuple<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<NoneType> {
        let text = values.items.iter().map(|value| value.to_str()).collect::<Vec<_>>().join(" ");
        let mut warning = Diagnostic::warning(text);
        if let Some(span) = eval.call_stack_top_location() {
            warning = warning.at(crate::error::location(&span));
        }
        match Context::of(eval) {
            Context::Module(module) => module.warnings.borrow_mut().push(warning),
            Context::Package(package) => package.warnings.borrow_mut().push(warning),
            Context::Analysis(_) => {
                return Err(Problem::new("an implementation cannot print")
                    .hint("look at a value with `fail(value)`")
                    .into());
            }
        }
        Ok(NoneType)
    }

    /// The numbers from `start` up to and without `stop`: `range(stop)`, `range(start, stop)`,
    /// `range(start, stop, step)`.
    fn range<'v>(
        #[starlark(args)] bounds: UnpackTuple<i32>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let (start, stop, step) = match *bounds.items {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] => (start, stop, step),
            _ => return Err(Problem::new("`range()` takes one to three numbers").into()),
        };
        let turns = (i64::from(stop) - i64::from(start)) / i64::from(if step == 0 { 1 } else { step });
        if turns > LONGEST_RANGE {
            return Err(Problem::new(format!("`range()` of more than {LONGEST_RANGE} numbers")).into());
        }
        let bounds = [start, stop, step].map(|bound| eval.heap().alloc(bound));
        eval.eval_function(standard_range(), &bounds, &[])
    }
}

/// A list of so many numbers takes 80 MB: one operation that no limit sees before it is done.
const LONGEST_RANGE: i64 = 10_000_000;

fn standard_range<'v>() -> Value<'v> {
    static STANDARD: LazyLock<Globals> = LazyLock::new(Globals::standard);
    let range = STANDARD.iter().find(|(name, _)| *name == "range").map(|(_, value)| value);
    range.expect("`range` is part of the language").to_value()
}

fn check_function(parameter: &str, value: Value<'_>) -> Result<(), Problem> {
    if value.get_type() == "function" {
        return Ok(());
    }
    Err(Problem::new(format!("`{parameter}` is a function that takes `ctx`, not {}", value.get_type())))
}

fn instance<'v>(
    classes: &[KindClass],
    args: &Arguments<'v, '_>,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<(&'static schema::Kind, imgbuild_model::Attributes, imgbuild_model::Location)> {
    let heap = eval.heap();
    let context = Context::of(eval);
    let kind = args.positional1(heap)?;
    let kind = kind
        .unpack_str()
        .ok_or_else(|| Problem::new(format!("a kind is named by a string, not by {}", kind.get_type())))?;
    let kind = schema::expect_kind(kind, classes)?;
    let named = args.names_map()?;
    let attributes = kind.attributes(named.iter().map(|(name, value)| (name.as_str(), *value)), context)?;
    Ok((kind, attributes, context.written_at(eval)))
}

#[starlark_module]
fn kinds(builder: &mut GlobalsBuilder) {
    /// A step, export, command or check: `native.step(kind, **attributes)`. Attributes are checked against the kind's
    /// schema; `None` counts as not given.
    fn step<'v>(args: &Arguments<'v, '_>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<StepValue> {
        let classes = [KindClass::Step, KindClass::Export, KindClass::Command, KindClass::Test];
        let (kind, attributes, location) = instance(&classes, args, eval)?;
        Ok(StepValue(Arc::new(Step { kind: kind.id.clone(), attributes, location })))
    }

    /// The names of a kind's attributes, sorted: `native.attributes(kind)`.
    fn attributes(#[starlark(require = pos)] kind: &str) -> starlark::Result<Vec<String>> {
        let classes =
            [KindClass::Source, KindClass::Step, KindClass::Export, KindClass::Command, KindClass::Test];
        Ok(schema::expect_kind(kind, &classes)?.names())
    }

    /// Where a chain starts: `native.source(kind, **attributes)`.
    fn source<'v>(
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<SourceValue> {
        let (kind, attributes, location) = instance(&[KindClass::Source], args, eval)?;
        Ok(SourceValue(Arc::new(Source { kind: kind.id.clone(), attributes, location })))
    }
}

/// What the constructors of `attrs` have in common.
struct Common<'v> {
    default: Option<Value<'v>>,
    mandatory: bool,
    doc: &'v str,
    selectable: bool,
}

fn spec(
    kind: AttributeKind,
    common: &Common<'_>,
    eval: &Evaluator<'_, '_, '_>,
) -> starlark::Result<AttributeSpec> {
    let context = Context::of(eval);
    let default = match common.default {
        Some(_) if common.mandatory => {
            return Err(Problem::new("an attribute that is mandatory needs no default")
                .hint("remove one of `mandatory` and `default`")
                .into());
        }
        Some(value) if value.is_none() => Data::None,
        Some(value) => to_data(value)
            .and_then(|data| kind.coerce(data, context))
            .map_err(|problem| problem.within("`default`"))?,
        None => kind.implicit_default(),
    };
    let Common { mandatory, doc, selectable, .. } = *common;
    Ok(AttributeSpec(Attribute { kind, default, mandatory, selectable, doc: doc.to_owned() }))
}

fn provider_ids(types: &UnpackList<Value<'_>>) -> Result<Arc<[imgbuild_model::ProviderId]>, Problem> {
    types
        .items
        .iter()
        .map(|value| match ProviderType::from_value(*value) {
            Some(type_) => type_.id().cloned(),
            None => {
                Err(Problem::new(format!("`providers` is a list of providers, not of {}", value.get_type())))
            }
        })
        .collect()
}

fn class(word: &str) -> Result<Option<KindClass>, Problem> {
    match word {
        "" => Ok(None),
        "step" => Ok(Some(KindClass::Step)),
        "export" => Ok(Some(KindClass::Export)),
        "command" => Ok(Some(KindClass::Command)),
        "check" => Ok(Some(KindClass::Test)),
        _ => Err(Problem::new(format!(
            "`of` is \"step\", \"export\", \"command\" or \"check\", not \"{word}\""
        ))),
    }
}

fn inner<'v>(value: Value<'v>) -> Result<AttributeKind, Problem> {
    AttributeSpec::from_value(value).map(|spec| spec.0.kind.clone()).ok_or_else(|| {
        Problem::new(format!("expected a type such as `attrs.string()`, got {}", value.get_type()))
    })
}

#[starlark_module]
fn attributes(builder: &mut GlobalsBuilder) {
    /// Text.
    fn string<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::String, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// A whole number.
    fn int<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Int, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// `True` or `False`.
    fn bool<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Bool, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// A list of values of one type: `attrs.list(attrs.string())`.
    fn list<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        let kind = AttributeKind::List(Box::new(inner(of)?));
        spec(kind, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// A dict from text to values of one type: `attrs.dict(attrs.string())`, or `attrs.dict(key, value)` with
    /// `attrs.string()` as the key.
    fn dict<'v>(
        #[starlark(require = pos)] key_or_value: Value<'v>,
        #[starlark(require = pos)] value: Option<Value<'v>>,
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        let value = match value {
            Some(value) if inner(key_or_value)? == AttributeKind::String => inner(value)?,
            Some(_) => {
                return Err(Problem::new("the keys of a dict are strings")
                    .hint("write `attrs.dict(attrs.string(), ...)`")
                    .into());
            }
            None => inner(key_or_value)?,
        };
        spec(AttributeKind::Dict(Box::new(value)), &Common { default, mandatory, doc, selectable }, eval)
    }

    /// The label of a target; the implementation gets the target's providers.
    fn label<'v>(
        #[starlark(require = named, default = UnpackList::default())] providers: UnpackList<Value<'v>>,
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        let kind = AttributeKind::Label(provider_ids(&providers)?);
        spec(kind, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// Labels of targets.
    fn label_list<'v>(
        #[starlark(require = named, default = UnpackList::default())] providers: UnpackList<Value<'v>>,
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        let kind = AttributeKind::List(Box::new(AttributeKind::Label(provider_ids(&providers)?)));
        spec(kind, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// A file or folder of the workspace, or a target that gives one file; the implementation gets an artifact.
    fn source<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Source, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// Files, folders and targets; the implementation gets the artifacts of all of them.
    fn source_list<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Sources, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// The name of a file that the target makes: a relative path.
    fn output<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Output, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// One step, export, command or check.
    fn step<'v>(
        #[starlark(require = named, default = "")] of: &str,
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Step(class(of)?), &Common { default, mandatory, doc, selectable }, eval)
    }

    /// A list of steps, or of what `of` says: `"export"`, `"command"`, `"check"`.
    fn steps<'v>(
        #[starlark(require = named, default = "")] of: &str,
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Steps(class(of)?), &Common { default, mandatory, doc, selectable }, eval)
    }

    /// Where a chain starts: `debian()` and its like.
    fn source_value<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Chain, &Common { default, mandatory, doc, selectable }, eval)
    }

    /// The platforms that a target is for: `["linux/amd64", "linux/arm64"]`. Read before choices are made.
    fn platforms<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        let common = Common { default, mandatory, doc, selectable: false };
        spec(AttributeKind::Platforms, &common, eval)
    }

    /// Settings and the values that they must have: `platform`, `arch`, and flags of the command line.
    fn conditions<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        let common = Common { default, mandatory, doc, selectable: false };
        spec(AttributeKind::Conditions, &common, eval)
    }

    /// Any data.
    fn any<'v>(
        #[starlark(require = named)] default: Option<Value<'v>>,
        #[starlark(require = named, default = false)] mandatory: bool,
        #[starlark(require = named, default = "")] doc: &'v str,
        #[starlark(require = named, default = true)] selectable: bool,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<AttributeSpec> {
        spec(AttributeKind::Any, &Common { default, mandatory, doc, selectable }, eval)
    }
}
