//! The words of the design as types.
//!
//! What is here: labels, platforms, values, kinds' schemas, steps, actions, targets, diagnostics, events, secrets,
//! and the traits of the front ends. What is not: any input or output, any clock, any language, any builder.

mod action;
mod diagnostic;
mod event;
mod forms;
mod front_end;
mod label;
mod node;
mod platform;
mod schema;
mod secret;
mod state;
mod step;
mod suggest;
mod target;
mod value;

pub use action::{Action, ActionRef, Artifact, LayerRef, SourceFile};
pub use diagnostic::{Class, Diagnostic, Diagnostics, Location, Note, Severity, with_causes};
pub use event::{ActionId, Event, EventSink, Outcome, Stream, tried_line};
pub use forms::{SHORTEST_SECRET, written_forms};
pub use front_end::{
    Analysis, AnalysisRequest, Dependency, EntryKind, Files, FrontEnd, LoadedPackage, Package, Read,
};
pub use label::{Label, LabelError, PackagePath, Pattern, PatternSet, TargetName, WorkspacePath};
pub use node::{Field, Form, Node, NodeData};
pub use platform::{Architecture, Configuration, Platform, PlatformError};
pub use schema::{
    AttributeSchema, AttributeType, Availability, BlockSchema, Bounds, Default, Deprecation, Effect,
    KindClass, KindId, KindSchema, OutputSchema, Role, Rule, StateUse, Table,
};
pub use secret::{Secret, SecretReference, SecretReferenceError, is_secret_name};
pub use state::ChainState;
pub use step::{Attributes, Source, Step};
pub use suggest::did_you_mean;
pub use target::{AttributeValue, Provider, ProviderId, RuleId, SelectBranch, Target, Visibility};
pub use value::Value;
