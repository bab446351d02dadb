//! SPDX 2.3 as JSON.

use serde::Serialize;

use super::{Subject, derived_uuid, maintainer, package_url};
use crate::ExportError;
use crate::oci::rfc3339;

const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<SpdxPackage<'a>>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    created: String,
    creators: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage<'a> {
    #[serde(rename = "SPDXID")]
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: &'static str,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalReference>,
    primary_package_purpose: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalReference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// The document, with a line feed at its end.
///
/// # Errors
///
/// A time that the calendar does not hold.
pub fn spdx(subject: &Subject<'_>) -> Result<Vec<u8>, ExportError> {
    let packages = &subject.inventory.packages;
    let image = SpdxPackage {
        id: IMAGE.to_owned(),
        name: subject.name,
        version_info: None,
        supplier: None,
        download_location: UNKNOWN,
        files_analyzed: false,
        checksums: vec![Checksum { algorithm: "SHA256", checksum_value: subject.digest.hex() }],
        homepage: None,
        source_info: None,
        license_concluded: UNKNOWN,
        license_declared: UNKNOWN,
        copyright_text: UNKNOWN,
        summary: Some(subject.inventory.os.pretty_name.as_str()).filter(|name| !name.is_empty()),
        external_refs: Vec::new(),
        primary_package_purpose: "CONTAINER",
    };
    let ids: Vec<String> =
        packages.iter().map(|package| element_id(&package.name, &package.architecture)).collect();
    let described = packages.iter().zip(&ids).map(|(package, id)| SpdxPackage {
        id: id.clone(),
        name: &package.name,
        version_info: Some(&package.version),
        supplier: package.maintainer.as_deref().map(supplier),
        download_location: UNKNOWN,
        files_analyzed: false,
        checksums: Vec::new(),
        homepage: package.homepage.as_deref().filter(|page| is_url(page)),
        source_info: package.source.as_ref().map(|source| {
            let version = package.source_version.as_ref().unwrap_or(&package.version);
            format!("built from the source package {source} {version}")
        }),
        license_concluded: UNKNOWN,
        license_declared: UNKNOWN,
        copyright_text: UNKNOWN,
        summary: package.summary.as_deref(),
        external_refs: vec![ExternalReference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: package_url(package, subject.inventory),
        }],
        primary_package_purpose: "LIBRARY",
    });
    let relationship = |one: &str, kind, other: &str| Relationship {
        spdx_element_id: one.to_owned(),
        relationship_type: kind,
        related_spdx_element: other.to_owned(),
    };
    let relationships = std::iter::once(relationship(DOCUMENT, "DESCRIBES", IMAGE))
        .chain(ids.iter().map(|id| relationship(IMAGE, "CONTAINS", id)))
        .collect();
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: subject.name,
        document_namespace: format!("urn:uuid:{}", derived_uuid(&subject.digest, "spdx")),
        creation_info: CreationInfo {
            created: rfc3339(subject.created)?,
            // Without a version: another one writes the same bytes, and the result of an earlier one is used again.
            creators: ["Tool: imgbuild"],
        },
        packages: std::iter::once(image).chain(described).collect(),
        relationships,
    };
    let mut bytes =
        serde_json::to_vec_pretty(&document).map_err(|error| ExportError::Description(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Letters, digits, `.` and `-` are all that an id may have. `+`, the one other sign that names of packages have, is
/// written so that `g++` and `g--` stay apart.
fn element_id(name: &str, architecture: &str) -> String {
    let name = name.replace('+', ".plus.");
    let clean = |text: &str| -> String {
        text.chars()
            .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
            .collect()
    };
    format!("SPDXRef-Package-{}-{}", clean(&name), clean(architecture))
}

fn supplier(text: &str) -> String {
    match maintainer(text) {
        (name, Some(address)) => format!("Organization: {name} ({address})"),
        (name, None) => format!("Organization: {name}"),
    }
}

fn is_url(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(char::is_whitespace)
}
