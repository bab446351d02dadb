//! Post-processors that Packer brings.

use imgbuild_model::Role::{Content, Naming, Output, Policy};
use imgbuild_model::{AttributeSchema, AttributeType, Availability, Default, Effect, KindSchema};

use super::provisioners::LOCAL;
use crate::packer::attribute::{dict, flag, int, post_processor, secret, text, texts, tri, word};

/// A record of artifacts.
pub(super) static MANIFEST: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        text("output", Output, "The file that is added to.").or_text("packer-manifest.json"),
        flag("strip_path", Content, "Whether files are named without their folder."),
        flag("strip_time", Content, "Whether the time of the build is left out."),
        dict("custom_data", Content, "Further entries."),
    ],
    ..post_processor("manifest", "Writes what was made into a JSON file.")
};

/// Checksums.
pub(super) static CHECKSUM: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        AttributeSchema::new(
            "checksum_types",
            AttributeType::List(&AttributeType::Enum(&["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])),
            Default::Strings(&["md5"]),
            Content,
            "The functions.",
        ),
        text("output", Output, "The file that checksums are added to: a template with `.BuildName`, `.BuilderType` and `.ChecksumType`.")
            .or_text("packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum")
            .late(),
    ],
    ..post_processor("checksum", "Writes checksums of the artifact's files.")
};

/// An archive.
pub(super) static COMPRESS: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        text("output", Output, "The archive: a template with `.BuildName` and `.BuilderType`; its extension says the format.")
            .or_text("packer_{{.BuildName}}_{{.BuilderType}}")
            .late(),
        text("format", Content, "The format, if the name of `output` does not say it: `tar`, `zip`, `gz`, `lz4`, `bgzf`, `xz`, `bzip2`, or two, as `tar.gz`."),
        int("compression_level", Content, "How hard to compress, from 1 to 9; the format's own level if -1 or 0.").or_int(-1),
    ],
    ..post_processor("compress", "Packs the artifact's files into one archive.")
};

/// Other files in place of the artifact's.
pub(super) static ARTIFICE: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        texts("files", Output, "The files, as patterns, that are the artifact from here on.").required(),
        tri("keep_input_artifact", Policy, "Whether what came in is kept; it is unless false."),
    ],
    ..post_processor("artifice", "Puts files that an earlier step made in the place of the artifact.")
};

/// Commands on the host.
pub(super) static SHELL_LOCAL: KindSchema = KindSchema {
    availability: Availability::Native,
    effect: Effect::Host,
    includes: &[&LOCAL],
    ..post_processor("shell-local", "Runs a shell's commands or scripts on the host.")
};

/// A statement of origin.
pub(super) static PROVENANCE: KindSchema = KindSchema {
    attributes: &[
        tri("provenance", Policy, "Whether it does anything; it does unless false."),
        text("build_type", Content, "The statement's build type.").or_text("https://packer.io/buildtypes/hcl2/v1"),
        text("output_dir", Output, "Where statements are put."),
        text("template", Content, "The template that is named in the statement."),
        texts("only_builds", Policy, "The builds that it is made for."),
        dict("user_variables", Content, "Variables that are named in the statement."),
        text("source_uri", Content, "Where the template comes from."),
        flag("sbom", Content, "Whether a bill of materials goes with it."),
        word("sbom_format", &["cyclonedx", "spdx"], Content, "The bill's format.").or_text("cyclonedx"),
        text("sbom_scan_path", Content, "What is scanned for the bill."),
        word("sbom_scope", &["squashed", "all-layers"], Content, "Which layers are scanned.").or_text("squashed"),
        texts("sbom_exclude", Content, "What is not scanned."),
        word("signing_mode", &["none", "key", "kms", "keyless"], Content, "How it is signed.").or_text("none"),
        secret("signer", Content, "The key that signs, as a file or a place in a key service."),
        secret("key", Content, "The key that signs, as a file or a place in a key service."),
        text("verifier", Content, "The key that signatures are checked with."),
        text("fulcio_url", Content, "The server of certificates."),
        text("rekor_url", Content, "The server of the transparency log."),
        flag("upload_tlog", Policy, "Whether the signature goes into the transparency log."),
        text("trusted_root_path", Content, "A file with the roots that are trusted."),
        text("keyless_identity", Naming, "Who must have signed."),
        text("keyless_oidc_issuer", Naming, "Who must vouch for the signer."),
    ],
    ..post_processor("provenance", "Writes a signed statement of how the artifact was made.")
};
