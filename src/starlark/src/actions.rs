//! `ctx.actions`: how an implementation declares what is to be done. Nothing here returns contents.

use std::fmt;
use std::sync::Arc;

use allocative::Allocative;
use imgbuild_model::{
    Action, Artifact, Attributes, Effect, KindClass, LayerRef, Step, Value as Data, WorkspacePath,
};
use starlark::docs::DocMember;
use starlark::environment::{Methods, MethodsBuilder};
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::starlark_simple_value;
use starlark::values::list::{AllocList, UnpackList};
use starlark::values::{
    NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use crate::analysis::AnalysisContext;
use crate::attribute::with_article;
use crate::context::Context;
use crate::error::Problem;
use crate::schema::{Kind, expect_kind, kind};
use crate::values::plain::{ArtifactValue, LayerValue, SourceValue, StepValue};

/// `ctx.actions`.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct ActionsValue;
starlark_simple_value!(ActionsValue);

starlark::methods_static!(ACTIONS = methods);

#[starlark_value(type = "actions")]
impl<'v> StarlarkValue<'v> for ActionsValue {
    fn get_methods() -> Option<&'static Methods> {
        Some(ACTIONS.methods())
    }
}

impl fmt::Display for ActionsValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<actions>")
    }
}

/// The methods with what each does, for the reference.
pub(crate) fn documentation() -> Vec<(String, Option<String>)> {
    let members =
        ACTIONS.methods().documentation(starlark::typing::Ty::starlark_value::<ActionsValue>()).members;
    members
        .iter()
        .map(|(name, member)| {
            let docs = match member {
                DocMember::Function(function) => function.docs.as_ref(),
                DocMember::Property(property) => property.docs.as_ref(),
            };
            (name.clone(), docs.map(|docs| docs.summary.clone()))
        })
        .collect()
}

fn analysis<'a, 'e>(eval: &Evaluator<'_, 'a, 'e>) -> Result<&'a AnalysisContext<'e>, Problem> {
    match Context::of(eval) {
        Context::Analysis(analysis) => Ok(analysis),
        Context::Module(_) | Context::Package(_) => {
            Err(Problem::new("actions are declared in a rule's implementation"))
        }
    }
}

fn of_class(step: &Step, wanted: KindClass) -> Result<&'static Kind, Problem> {
    let found = expect_kind(
        step.kind.as_str(),
        &[KindClass::Source, KindClass::Step, KindClass::Export, KindClass::Command, KindClass::Test],
    )?;
    if found.schema.class == wanted {
        return Ok(found);
    }
    Err(Problem::new(format!(
        "`{}` is {}, not {}",
        step.kind,
        with_article(found.schema.class.word()),
        with_article(wanted.word())
    )))
}

impl AnalysisContext<'_> {
    fn output(&self, name: &str) -> Result<Arc<str>, Problem> {
        if name.is_empty() || WorkspacePath::new(name).is_err() {
            return Err(Problem::new(format!("`{name}` is not the name of an output"))
                .hint("write a relative path without `..`, for example `bin/tool`"));
        }
        let name: Arc<str> = name.into();
        if !self.outputs.borrow_mut().insert(name.clone()) {
            return Err(Problem::new(format!("the output `{name}` is declared twice")));
        }
        Ok(name)
    }

    fn declare_step(
        &self,
        step: &Step,
        parent: Option<&LayerRef>,
        outputs: Vec<Arc<str>>,
    ) -> Vec<ArtifactValue> {
        let action = self.declare(Action {
            kind: step.kind.clone(),
            source: None,
            parent: parent.cloned(),
            attributes: step.attributes.clone(),
            outputs: outputs.clone(),
            joins: Vec::new(),
            location: step.location.clone(),
        });
        let artifact = |name| ArtifactValue(Artifact::Output { action: action.clone(), name });
        outputs.into_iter().map(artifact).collect()
    }
}

#[starlark_module]
fn methods(builder: &mut MethodsBuilder) {
    /// Declares the action that makes a source's tree, and gives its layer.
    fn source<'v>(
        this: &ActionsValue,
        #[starlark(require = pos)] source: &SourceValue,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<LayerValue> {
        let _ = this;
        let source = source.0.clone();
        let action = analysis(eval)?.declare(Action {
            kind: source.kind.clone(),
            parent: None,
            attributes: source.attributes.clone(),
            outputs: Vec::new(),
            joins: Vec::new(),
            location: source.location.clone(),
            source: Some(source),
        });
        Ok(LayerValue(LayerRef { action, state: Arc::default() }))
    }

    /// Declares a step on top of a layer, and gives the new layer. A step that only moves the state, such as `env`,
    /// declares no action.
    fn layer<'v>(
        this: &ActionsValue,
        #[starlark(require = pos)] parent: &LayerValue,
        #[starlark(require = pos)] step: &StepValue,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<LayerValue> {
        let _ = this;
        let (parent, step) = (&parent.0, &step.0);
        let kind = of_class(step, KindClass::Step)?;
        if kind.schema.effect == Effect::State {
            let state = Arc::new(parent.state.after(step));
            return Ok(LayerValue(LayerRef { action: parent.action.clone(), state }));
        }
        let action = analysis(eval)?.declare(Action {
            kind: step.kind.clone(),
            source: None,
            parent: Some(parent.clone()),
            attributes: step.attributes.clone(),
            outputs: Vec::new(),
            joins: Vec::new(),
            location: step.location.clone(),
        });
        Ok(LayerValue(LayerRef { action, state: parent.state.clone() }))
    }

    /// Declares an export of a layer, and gives the artifact.
    fn export<'v>(
        this: &ActionsValue,
        #[starlark(require = pos)] layer: &LayerValue,
        #[starlark(require = pos)] step: &StepValue,
        name: &str,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<ArtifactValue> {
        let _ = this;
        of_class(&step.0, KindClass::Export)?;
        let analysis = analysis(eval)?;
        let outputs = vec![analysis.output(name)?];
        Ok(analysis.declare_step(&step.0, Some(&layer.0), outputs).pop().expect("one for each output"))
    }

    /// Declares a command in the tree of a layer, or on the host if that is `None`, and gives its artifacts.
    fn command<'v>(
        this: &ActionsValue,
        #[starlark(require = pos)] layer: Value<'v>,
        #[starlark(require = pos)] step: &StepValue,
        outs: UnpackList<&'v str>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let _ = this;
        of_class(&step.0, KindClass::Command)?;
        let parent = match LayerValue::from_value(layer) {
            Some(layer) => Some(&layer.0),
            None if layer.is_none() => None,
            None => {
                return Err(Problem::new(format!("expected layer or None, got {}", layer.get_type())).into());
            }
        };
        let analysis = analysis(eval)?;
        let outputs = outs.items.iter().map(|name| analysis.output(name)).collect::<Result<Vec<_>, _>>()?;
        if outputs.is_empty() {
            return Err(Problem::new("a command without outputs has no use")
                .hint("name them in `outs`")
                .into());
        }
        let artifacts = analysis.declare_step(&step.0, parent, outputs);
        Ok(eval.heap().alloc(AllocList(artifacts)))
    }

    /// Declares checks of a layer, and gives the file with their result.
    fn test<'v>(
        this: &ActionsValue,
        #[starlark(require = pos)] layer: &LayerValue,
        #[starlark(require = pos)] step: &StepValue,
        #[starlark(default = "test.json")] name: &str,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<ArtifactValue> {
        let _ = this;
        of_class(&step.0, KindClass::Test)?;
        let analysis = analysis(eval)?;
        let outputs = vec![analysis.output(name)?];
        Ok(analysis.declare_step(&step.0, Some(&layer.0), outputs).pop().expect("one for each output"))
    }

    /// Declares the joining of several platforms' exports, and gives the artifact. Only in `combine`.
    fn join<'v>(
        this: &ActionsValue,
        #[starlark(require = pos)] exports: UnpackList<&'v ArtifactValue>,
        name: &str,
        r#ref: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<ArtifactValue> {
        let _ = this;
        let analysis = analysis(eval)?;
        if !analysis.combines {
            return Err(Problem::new(
                "platforms are joined in a rule's `combine`, not in its `implementation`",
            )
            .into());
        }
        let joins = exports
            .items
            .iter()
            .map(|export| match &export.0 {
                Artifact::Output { action, .. } => Ok(action.clone()),
                Artifact::Source(file) => Err(Problem::new(format!("`{}` is no export", file.label))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if joins.is_empty() {
            return Err(Problem::new("there is nothing to join").into());
        }
        let index = kind("index").expect("the kind is part of the program");
        let mut attributes = Attributes::default();
        match r#ref {
            Some(text) if !text.is_none() => {
                let text = text.unpack_str().ok_or_else(|| {
                    Problem::new(format!("`ref`: expected string, got {}", text.get_type()))
                })?;
                attributes.set("ref", Data::string(text));
            }
            _ => {}
        }
        let outputs = vec![analysis.output(name)?];
        let action = analysis.declare(Action {
            kind: index.id.clone(),
            source: None,
            parent: None,
            attributes,
            outputs: outputs.clone(),
            joins,
            location: analysis.target.location.clone(),
        });
        Ok(ArtifactValue(Artifact::Output { action, name: outputs[0].clone() }))
    }
}
