//! Data sources that Packer brings.

use imgbuild_model::Role::Content;
use imgbuild_model::{AttributeSchema, AttributeType, Availability, Deprecation, KindSchema, OutputSchema, Rule};

use crate::packer::attribute::{data_source, dict, output, text, typed_output, word};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

/// A web page.
pub(super) static HTTP: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        text("url", Content, "The address.").required(),
        word("method", METHODS, Content, "The method.").or_text("GET"),
        dict("request_headers", Content, "Headers of the request."),
        text("request_body", Content, "The body of the request."),
    ],
    outputs: &[
        output("url", "The address."),
        output("body", "The body of the answer."),
        typed_output("request_headers", AttributeType::StringDict, "The headers of the answer, in spite of the name."),
    ],
    ..data_source("http", "Fetches a text over HTTP.")
};

/// A value as it is.
pub(super) static NULL: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[text("input", Content, "The value.").required()],
    outputs: &[output("output", "The value.")],
    ..data_source("null", "Gives back what it is given.")
};

const BUCKET_NAME: AttributeSchema = text("bucket_name", Content, "The bucket.").required();
const REGION: AttributeSchema = text("region", Content, "The region that the artifact is in.").required();
const COMPONENT_TYPE: AttributeSchema = text("component_type", Content, "The builder that made it, if there are several.");

const CREATED_AT: OutputSchema = output("created_at", "When it was made.");
const UPDATED_AT: OutputSchema = output("updated_at", "When it was last changed.");
const FINGERPRINT: OutputSchema = output("fingerprint", "The fingerprint.");
const AUTHOR_ID: OutputSchema = output("author_id", "Who made it.");
const BUCKET: OutputSchema = output("bucket_name", "The bucket.");
const CHANNEL_ID: OutputSchema = output("channel_id", "The channel's id.");
const BUILD_ID: OutputSchema = output("build_id", "The build's id.");
const RUN: OutputSchema = output("packer_run_uuid", "The run that made it.");
const COMPONENT: OutputSchema = output("component_type", "The builder that made it.");
const REGION_OUT: OutputSchema = output("region", "Its region.");
const LABELS: OutputSchema = typed_output("labels", AttributeType::StringDict, "Its labels.");

/// A version in the registry.
pub(super) static HCP_VERSION: KindSchema = KindSchema {
    attributes: &[BUCKET_NAME, text("channel_name", Content, "The channel.").required()],
    outputs: &[
        output("id", "The version's id."),
        output("name", "The version's name."),
        output("status", "The version's status."),
        FINGERPRINT,
        AUTHOR_ID,
        BUCKET,
        CHANNEL_ID,
        CREATED_AT,
        UPDATED_AT,
    ],
    ..data_source("hcp-packer-version", "The version that a channel of the HCP registry points to.")
};

/// An artifact in the registry.
pub(super) static HCP_ARTIFACT: KindSchema = KindSchema {
    attributes: &[
        BUCKET_NAME,
        text("channel_name", Content, "The channel; this or `version_fingerprint`."),
        text("version_fingerprint", Content, "The version; this or `channel_name`."),
        text("platform", Content, "The platform, for example `aws`.").required(),
        REGION,
        COMPONENT_TYPE,
    ],
    rules: &[Rule::ExactlyOne(&["channel_name", "version_fingerprint"])],
    outputs: &[
        output("external_identifier", "The artifact's id in its cloud."),
        output("platform", "Its platform."),
        output("version_id", "The version's id."),
        REGION_OUT,
        COMPONENT,
        BUILD_ID,
        CHANNEL_ID,
        CREATED_AT,
        RUN,
        LABELS,
    ],
    ..data_source("hcp-packer-artifact", "An artifact of the HCP registry.")
};

const fn replaced_by(replacement: &'static str) -> Option<Deprecation> {
    Some(Deprecation { message: "the registry has new words", replacement: Some(replacement) })
}

/// What versions were called.
pub(super) static HCP_ITERATION: KindSchema = KindSchema {
    attributes: &[BUCKET_NAME, text("channel", Content, "The channel.").required()],
    outputs: &[
        output("id", "The iteration's id."),
        typed_output("incremental_version", AttributeType::Int, "The iteration's number."),
        typed_output("complete", AttributeType::Bool, "Whether all of its builds are done."),
        FINGERPRINT,
        AUTHOR_ID,
        BUCKET,
        CHANNEL_ID,
        CREATED_AT,
        UPDATED_AT,
    ],
    deprecated: replaced_by("hcp-packer-version"),
    ..data_source("hcp-packer-iteration", "The iteration that a channel of the HCP registry points to.")
};

/// What artifacts were called.
pub(super) static HCP_IMAGE: KindSchema = KindSchema {
    attributes: &[
        BUCKET_NAME,
        text("channel", Content, "The channel; this or `iteration_id`."),
        text("iteration_id", Content, "The iteration; this or `channel`."),
        text("cloud_provider", Content, "The cloud, for example `aws`.").required(),
        REGION,
        COMPONENT_TYPE,
    ],
    rules: &[Rule::ExactlyOne(&["channel", "iteration_id"])],
    outputs: &[
        output("id", "The image's id in its cloud."),
        output("cloud_provider", "Its cloud."),
        output("iteration_id", "The iteration's id."),
        REGION_OUT,
        COMPONENT,
        BUILD_ID,
        CHANNEL_ID,
        CREATED_AT,
        RUN,
        LABELS,
    ],
    deprecated: replaced_by("hcp-packer-artifact"),
    ..data_source("hcp-packer-image", "An image of the HCP registry.")
};
