//! The `hcp_packer_registry` block: where artifacts are registered. It is read and checked; nothing is sent from here.

use std::collections::BTreeMap;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Attribute, Body};
use imgbuild_hcl::value::Type;
use imgbuild_model::{Diagnostic, Location};

use super::body::Shape;
use super::evaluate::Evaluator;

/// Where artifacts are registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The bucket, if it is named.
    pub bucket_name: Option<String>,
    /// What the bucket is for.
    pub description: Option<String>,
    /// Labels of the bucket.
    pub bucket_labels: BTreeMap<String, String>,
    /// Labels of each build.
    pub build_labels: BTreeMap<String, String>,
    /// Channels to assign.
    pub channels: Vec<String>,
    /// Where it is.
    pub location: Location,
}

const REGISTRY: Shape = Shape {
    what: "an `hcp_packer_registry` block",
    attributes: &["bucket_name", "description", "labels", "bucket_labels", "build_labels", "channels"],
    blocks: &[],
};

const DESCRIPTION_LIMIT: usize = 255;

/// Reads a block.
pub(super) fn read_registry(
    body: &Body,
    location: Location,
    scope: &Scope<'_>,
    evaluator: Evaluator<'_>,
) -> Registry {
    let (body, _) = &REGISTRY.read(body, evaluator.report);
    let reader = Reader { scope, evaluator };
    let bucket_name = body.attribute("bucket_name").and_then(|name| reader.bucket_name(name));
    let description = body.attribute("description").and_then(|text| reader.description(text));
    if let Some(old) = body.attribute("labels") {
        let at = |message: &str| Diagnostic::warning(message).at(body.source.location(old.name_span));
        match body.attribute("bucket_labels") {
            Some(_) => evaluator.report.push(
                Diagnostic::error("`labels` and `bucket_labels` say the same")
                    .at(body.source.location(old.name_span))
                    .hint("remove `labels`"),
            ),
            None => evaluator.report.push(at("`labels` is deprecated").hint("write `bucket_labels`")),
        }
    }
    let labels = |name: &str| body.attribute(name).map(|labels| reader.labels(labels));
    Registry {
        bucket_name,
        description,
        bucket_labels: labels("bucket_labels").or_else(|| labels("labels")).unwrap_or_default(),
        build_labels: labels("build_labels").unwrap_or_default(),
        channels: body
            .attribute("channels")
            .and_then(|channels| evaluator.texts(channels, scope))
            .map(|all| all.into_iter().map(|(text, _)| text).collect())
            .unwrap_or_default(),
        location,
    }
}

struct Reader<'a> {
    scope: &'a Scope<'a>,
    evaluator: Evaluator<'a>,
}

impl Reader<'_> {
    fn bucket_name(&self, attribute: &Attribute) -> Option<String> {
        let name = self.evaluator.text(attribute, self.scope)?;
        let good = (3..=36).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !good {
            let error = attribute.expr.error(format!("`{name}` is not the name of a bucket"));
            self.evaluator.report.push(error.hint("3 to 36 letters, digits and `-`"));
        }
        Some(name)
    }

    fn description(&self, attribute: &Attribute) -> Option<String> {
        let text = self.evaluator.text(attribute, self.scope)?;
        if text.len() > DESCRIPTION_LIMIT {
            let error = attribute.expr.error("the description of a bucket is too long");
            self.evaluator
                .report
                .push(error.hint(format!("{DESCRIPTION_LIMIT} bytes at most; these are {}", text.len())));
        }
        Some(text)
    }

    fn labels(&self, attribute: &Attribute) -> BTreeMap<String, String> {
        let value = self.evaluator.typed(attribute, self.scope, &Type::map(Type::String));
        let entries = value.as_ref().and_then(|value| value.entries());
        let pair = |(name, value): (&std::sync::Arc<str>, &imgbuild_hcl::value::Value)| {
            Some((name.to_string(), value.as_str()?.to_owned()))
        };
        entries.into_iter().flatten().filter_map(pair).collect()
    }
}
