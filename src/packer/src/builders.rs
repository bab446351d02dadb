//! What builders of this program tell of their machines (`build.*`, `{{build `…`}}`).

use std::collections::BTreeMap;

use imgbuild_hcl::eval::Functions;
use imgbuild_hcl::value::Type;
use imgbuild_kinds::component;
use imgbuild_model::{Diagnostic, KindClass, Location};

use crate::interpolate::Generated;
use crate::lower::Volatile;
use crate::template::{Catalog, Settings};

/// What all of them tell, as text. Packer's own answer for what a builder does not have names it.
const GENERATED: [(&str, &str); 12] = [
    ("ID", "ERR_ID_NOT_IMPLEMENTED_BY_BUILDER"),
    ("Host", ""),
    ("Port", ""),
    ("User", "root"),
    ("Password", ""),
    ("ConnType", "none"),
    ("PackerHTTPPort", "ERR_HTTP_PORT_NOT_IMPLEMENTED_BY_BUILDER"),
    ("PackerHTTPIP", "ERR_HTTP_IP_NOT_IMPLEMENTED_BY_BUILDER"),
    ("PackerHTTPAddr", "ERR_HTTP_ADDR_NOT_IMPLEMENTED_BY_BUILDER"),
    ("SSHPublicKey", ""),
    ("SSHPrivateKey", ""),
    ("WinRMPassword", ""),
];

/// The catalog of this program: what its own builders tell of their machines is known before they run.
pub struct Known<C>(pub C);

impl<C: Catalog> Catalog for Known<C> {
    fn functions(&self, root: &str) -> Functions {
        self.0.functions(root)
    }

    fn data_type(&self, kind: &str) -> Option<Type> {
        self.0.data_type(kind)
    }

    fn generated(&self, builder: &str) -> Option<Vec<String>> {
        self.0.generated(builder)
    }

    fn known(&self, builder: &str) -> BTreeMap<String, String> {
        known(builder)
    }

    fn check(
        &self,
        class: KindClass,
        kind: &str,
        location: &Location,
        settings: &Settings,
    ) -> Vec<Diagnostic> {
        self.0.check(class, kind, location, settings)
    }
}

fn known(builder: &str) -> BTreeMap<String, String> {
    match builder {
        "rootfs" | "file" | "null" => generated(&Volatile::RunUuid.mark()),
        _ => BTreeMap::new(),
    }
}

/// The names that a builder makes known, beside what it says itself.
fn generated_names(builder: &str) -> Vec<String> {
    let own = component(KindClass::Builder, builder).into_iter().flat_map(|schema| schema.outputs);
    GENERATED
        .iter()
        .map(|(name, _)| *name)
        .chain(["PackerRunUUID"])
        .chain(own.map(|output| output.name))
        .map(str::to_owned)
        .collect()
}

/// What strings of a build's components may ask of its machine.
#[must_use]
pub fn tells(builder: &str) -> Generated {
    match known(builder) {
        known if known.is_empty() => Generated::Late(generated_names(builder).into_iter().collect()),
        known => Generated::Known(known),
    }
}

/// What `build.*` is in builds of this program, by name.
#[must_use]
pub fn generated(run_uuid: &str) -> BTreeMap<String, String> {
    let known = GENERATED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    known.chain([("PackerRunUUID".to_owned(), run_uuid.to_owned())]).collect()
}
