//! CycloneDX 1.5 as JSON.

use serde::Serialize;

use super::{Subject, derived_uuid, maintainer, package_url};
use crate::ExportError;
use crate::oci::rfc3339;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: String,
    tools: Tools<'a>,
    component: Component<'a>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Supplier<'a>>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<ExternalReference<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property<'a>>,
}

#[derive(Serialize)]
struct Supplier<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contact: Vec<Contact<'a>>,
}

#[derive(Serialize)]
struct Contact<'a> {
    email: &'a str,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
struct ExternalReference<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url: &'a str,
}

#[derive(Serialize)]
struct Property<'a> {
    name: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    depends_on: Vec<String>,
}

impl<'a> Component<'a> {
    fn new(kind: &'static str, name: &'a str) -> Self {
        Self {
            kind,
            bom_ref: None,
            supplier: None,
            name,
            version: None,
            description: None,
            hashes: Vec::new(),
            purl: None,
            external_references: Vec::new(),
            properties: Vec::new(),
        }
    }
}

/// The document, with a line feed at its end.
///
/// # Errors
///
/// A time that the calendar does not hold.
pub fn cyclonedx(subject: &Subject<'_>) -> Result<Vec<u8>, ExportError> {
    let components: Vec<Component<'_>> = subject
        .inventory
        .packages
        .iter()
        .map(|package| {
            let url = package_url(package, subject.inventory);
            let mut properties = Vec::new();
            if let Some(source) = &package.source {
                properties.push(Property { name: "imgbuild:dpkg:source", value: source });
            }
            if let Some(version) = &package.source_version {
                properties.push(Property { name: "imgbuild:dpkg:source_version", value: version });
            }
            Component {
                bom_ref: Some(url.clone()),
                supplier: package.maintainer.as_deref().map(supplier),
                version: Some(&package.version),
                description: package.summary.as_deref(),
                purl: Some(url),
                external_references: package
                    .homepage
                    .as_deref()
                    .filter(|page| !page.contains(char::is_whitespace))
                    .map(|url| ExternalReference { kind: "website", url })
                    .into_iter()
                    .collect(),
                properties,
                ..Component::new("library", &package.name)
            }
        })
        .collect();
    let image_reference = format!("sha256:{}", subject.digest.hex());
    let dependencies = vec![Dependency {
        reference: image_reference.clone(),
        depends_on: components.iter().filter_map(|component| component.bom_ref.clone()).collect(),
    }];
    let image = Component {
        bom_ref: Some(image_reference),
        description: Some(subject.inventory.os.pretty_name.as_str()).filter(|name| !name.is_empty()),
        hashes: vec![Hash { alg: "SHA-256", content: subject.digest.hex() }],
        ..Component::new("container", subject.name)
    };
    // Without a version, as in SPDX.
    let tool = Component::new("application", "imgbuild");
    let bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.5",
        serial_number: format!("urn:uuid:{}", derived_uuid(&subject.digest, "cyclonedx")),
        version: 1,
        metadata: Metadata {
            timestamp: rfc3339(subject.created)?,
            tools: Tools { components: [tool] },
            component: image,
        },
        components,
        dependencies,
    };
    let mut bytes =
        serde_json::to_vec_pretty(&bom).map_err(|error| ExportError::Description(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn supplier(text: &str) -> Supplier<'_> {
    let (name, address) = maintainer(text);
    Supplier { name, contact: address.map(|email| Contact { email }).into_iter().collect() }
}
