//! `fix`: old templates in JSON into what Packer reads today.
//!
//! The fixers are a table, in the order in which they run; the few that do more than rename or remove are functions in
//! `rules`. Each does what Packer's of the same name does, except that one which would crash there is an error here.

mod rules;

use imgbuild_gotemplate::Span;
use imgbuild_model::{Diagnostic, Diagnostics, Severity};

use crate::go_json;
use crate::json::{Document, Member, Node, Source, Value};

/// One fixer.
pub struct Fixer {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    target: Target,
    changes: &'static [Change],
}

/// What a fixer looks at.
#[derive(Clone, Copy)]
enum Target {
    /// Builders whose type is one of these.
    Builders(&'static [Kind]),
    /// Provisioners of this type.
    Provisioners(&'static str),
    /// Post-processors of this type.
    PostProcessors(&'static str),
    /// The whole template.
    Template,
}

#[derive(Clone, Copy)]
enum Kind {
    Any,
    Is(&'static str),
    Begins(&'static str),
}

#[derive(Clone, Copy)]
enum Change {
    Rename { from: &'static str, to: &'static str, only: Only, existing: Existing },
    Remove(&'static str),
    Type(&'static str),
    Call(fn(&mut Node, &Source) -> Result<(), Box<Diagnostic>>),
}

/// Which values are moved; others stay under the old name.
#[derive(Clone, Copy, PartialEq)]
enum Only {
    Any,
    Strings,
    Bools,
}

/// What becomes of a value that the new name has already.
#[derive(Clone, Copy, PartialEq)]
enum Existing {
    Replaced,
    /// It stays, and an old value that could have been moved goes.
    Kept,
    /// It stays, and the old value goes whatever it is.
    Final,
}

/// A template that has been fixed.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Its text, with a line break at the end.
    pub text: String,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// Runs all fixers.
///
/// # Errors
/// Text that is no JSON, and values that a fixer must understand but cannot.
pub fn fix(file: &str, text: &str) -> Result<Fixed, Diagnostics> {
    let (document, duplicates) = Document::parse(file, text)?;
    let source = document.source().clone();
    let mut root = document.root;
    keep_last(&mut root);
    if !matches!(root.value, Value::Object(_)) {
        let message = format!("a template must be an object, not {}", root.kind());
        return Err(Diagnostic::error(message).at(source.location(root.span)).into());
    }
    for fixer in &FIXERS {
        fixer.run(&mut root, &source).map_err(|error| Diagnostics::from(*error))?;
    }
    if section(&mut root, "builders").is_none() {
        set(&mut root, "builders", Value::Null);
    }
    let warnings = duplicates
        .into_iter()
        .map(|duplicate| Diagnostic { severity: Severity::Warning, ..duplicate })
        .collect();
    Ok(Fixed { text: go_json::write(&root), warnings })
}

impl Fixer {
    fn run(&self, root: &mut Node, source: &Source) -> Result<(), Box<Diagnostic>> {
        let components = match self.target {
            Target::Template => vec![root],
            Target::Builders(kinds) => {
                let builders = objects(root, "builders", source)?;
                builders
                    .into_iter()
                    .filter(|builder| kinds.iter().any(|kind| kind.matches(builder)))
                    .collect()
            }
            Target::Provisioners(kind) => {
                let provisioners = provisioners(root);
                provisioners.into_iter().filter(|one| type_of(one) == Some(kind)).collect()
            }
            Target::PostProcessors(kind) => {
                let post_processors = post_processors(root, source)?;
                post_processors.into_iter().filter(|one| type_of(one) == Some(kind)).collect()
            }
        };
        for component in components {
            for change in self.changes {
                change.apply(component, source)?;
            }
        }
        Ok(())
    }
}

impl Kind {
    fn matches(self, builder: &Node) -> bool {
        match self {
            Self::Any => true,
            Self::Is(kind) => type_of(builder) == Some(kind),
            Self::Begins(prefix) => type_of(builder).is_some_and(|kind| kind.starts_with(prefix)),
        }
    }
}

impl Change {
    fn apply(self, component: &mut Node, source: &Source) -> Result<(), Box<Diagnostic>> {
        match self {
            Self::Rename { from, to, only, existing } => rename(component, from, to, only, existing),
            Self::Remove(name) => drop(take(component, name)),
            Self::Type(kind) => set(component, "type", Value::String(kind.to_owned())),
            Self::Call(rule) => rule(component, source)?,
        }
        Ok(())
    }
}

fn rename(component: &mut Node, from: &str, to: &str, only: Only, existing: Existing) {
    let Some(value) = get(component, from) else { return };
    let is_there = get(component, to).is_some();
    let moves = match only {
        Only::Any => true,
        Only::Strings => matches!(value.value, Value::String(_)),
        Only::Bools => matches!(value.value, Value::Bool(_)),
    };
    if is_there && (existing == Existing::Final || moves && existing == Existing::Kept) {
        take(component, from);
    } else if moves && let Some(value) = take(component, from) {
        set(component, to, value.value);
    }
}

/// Of members of one name the last counts.
fn keep_last(node: &mut Node) {
    match &mut node.value {
        Value::Array(elements) => elements.iter_mut().for_each(keep_last),
        Value::Object(members) => {
            let mut seen = std::collections::BTreeSet::new();
            members.reverse();
            members.retain(|member| seen.insert(member.name.clone()));
            members.reverse();
            members.iter_mut().for_each(|member| keep_last(&mut member.value));
        }
        _ => {}
    }
}

fn members(node: &mut Node) -> Option<&mut Vec<Member>> {
    match &mut node.value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Object(members) => {
            members.iter().find(|member| member.name == name).map(|member| &member.value)
        }
        _ => None,
    }
}

fn get_mut<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    members(node)?.iter_mut().find(|member| member.name == name).map(|member| &mut member.value)
}

fn take(node: &mut Node, name: &str) -> Option<Node> {
    let members = members(node)?;
    let position = members.iter().position(|member| member.name == name)?;
    Some(members.remove(position).value)
}

fn set(node: &mut Node, name: &str, value: Value) {
    let span = Span { start: node.span.start, end: node.span.start };
    take(node, name);
    if let Some(members) = members(node) {
        let value = Node { value, span };
        members.push(Member { name: name.to_owned(), name_span: span, value });
    }
}

fn type_of(component: &Node) -> Option<&str> {
    get(component, "type")?.as_str()
}

/// A section, whatever the case of its letters.
fn section<'n>(root: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    let members = members(root)?;
    let exact = members.iter().position(|member| member.name == name);
    let position =
        exact.or_else(|| members.iter().position(|member| member.name.eq_ignore_ascii_case(name)))?;
    Some(&mut members[position].value)
}

fn wrong(source: &Source, node: &Node, what: &str, wanted: &str) -> Box<Diagnostic> {
    let message = format!("{what} must be {wanted}, not {}", node.kind());
    Box::new(Diagnostic::error(message).at(source.location(node.span)))
}

/// The elements of a section that must be a list of objects.
fn objects<'n>(
    root: &'n mut Node,
    name: &str,
    source: &Source,
) -> Result<Vec<&'n mut Node>, Box<Diagnostic>> {
    let elements = list(root, name, source)?;
    for element in &*elements {
        if !matches!(element.value, Value::Object(_) | Value::Null) {
            return Err(wrong(source, element, "a builder", "an object"));
        }
    }
    Ok(elements)
}

fn list<'n>(root: &'n mut Node, name: &str, source: &Source) -> Result<Vec<&'n mut Node>, Box<Diagnostic>> {
    let Some(section) = section(root, name) else { return Ok(Vec::new()) };
    if !matches!(section.value, Value::Array(_) | Value::Null) {
        return Err(wrong(source, section, &format!("`{name}`"), "a list"));
    }
    match &mut section.value {
        Value::Array(elements) => Ok(elements.iter_mut().collect()),
        _ => Ok(Vec::new()),
    }
}

/// The provisioners. One that stands alone becomes a list.
fn provisioners(root: &mut Node) -> Vec<&mut Node> {
    let Some(section) = section(root, "provisioners") else { return Vec::new() };
    let alone = match &section.value {
        Value::Array(_) | Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    if alone {
        let span = section.span;
        let one = std::mem::replace(section, Node { value: Value::Null, span });
        section.value = Value::Array(vec![one]);
    }
    match &mut section.value {
        Value::Array(elements) => elements.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// The post-processors that are objects, those in sequences too.
fn post_processors<'n>(root: &'n mut Node, source: &Source) -> Result<Vec<&'n mut Node>, Box<Diagnostic>> {
    let mut found = Vec::new();
    for element in list(root, "post-processors", source)? {
        if matches!(element.value, Value::Object(_)) {
            found.push(element);
        } else if let Value::Array(inner) = &mut element.value {
            found.extend(inner.iter_mut().filter(|one| matches!(one.value, Value::Object(_))));
        }
    }
    Ok(found)
}

const ANY: &[Kind] = &[Kind::Any];
const AMAZON: &[Kind] = &[Kind::Begins("amazon-")];
const PARALLELS: &[Kind] = &[Kind::Is("parallels-iso"), Kind::Is("parallels-pvm")];
const QEMU: &[Kind] = &[Kind::Is("qemu")];

const fn renamed(from: &'static str, to: &'static str, only: Only, existing: Existing) -> Change {
    Change::Rename { from, to, only, existing }
}

/// All fixers, in their order.
pub static FIXERS: [Fixer; 34] = [
    Fixer {
        name: "iso-md5",
        summary: "writes `iso_md5` of builders as `iso_checksum` and `iso_checksum_type`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::iso_md5)],
    },
    Fixer {
        name: "createtime",
        summary: "writes `{{.CreateTime}}` in names of images as `{{timestamp}}`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::create_time)],
    },
    Fixer {
        name: "virtualbox-gaattach",
        summary: "writes `guest_additions_attach` of VirtualBox builders as `guest_additions_mode`",
        target: Target::Builders(&[Kind::Is("virtualbox")]),
        changes: &[Change::Call(rules::guest_additions)],
    },
    Fixer {
        name: "pp-vagrant-override",
        summary: "moves settings for one provider in `vagrant` post-processors into `override`",
        target: Target::PostProcessors("vagrant"),
        changes: &[Change::Call(rules::vagrant_override)],
    },
    Fixer {
        name: "virtualbox-rename",
        summary: "renames the builder `virtualbox` to `virtualbox-iso`",
        target: Target::Template,
        changes: &[Change::Call(rules::virtualbox_iso)],
    },
    Fixer {
        name: "vmware-rename",
        summary: "renames the builder `vmware` to `vmware-iso`",
        target: Target::Builders(&[Kind::Is("vmware")]),
        changes: &[Change::Type("vmware-iso")],
    },
    Fixer {
        name: "parallels-headless",
        summary: "removes `headless`, which Parallels builders do not use",
        target: Target::Builders(PARALLELS),
        changes: &[Change::Remove("headless")],
    },
    Fixer {
        name: "parallels-deprecations",
        summary: "removes `parallels_tools_host_path` of Parallels builders, and renames `guest_os_distribution` to `guest_os_type`",
        target: Target::Builders(PARALLELS),
        changes: &[
            Change::Remove("parallels_tools_host_path"),
            renamed("guest_os_distribution", "guest_os_type", Only::Any, Existing::Replaced),
        ],
    },
    Fixer {
        name: "sshkeypath",
        summary: "renames `ssh_key_path` to `ssh_private_key_file`",
        target: Target::Builders(ANY),
        changes: &[renamed("ssh_key_path", "ssh_private_key_file", Only::Strings, Existing::Kept)],
    },
    Fixer {
        name: "sshdisableagent",
        summary: "renames `ssh_disable_agent` to `ssh_disable_agent_forwarding`",
        target: Target::Builders(ANY),
        changes: &[renamed("ssh_disable_agent", "ssh_disable_agent_forwarding", Only::Bools, Existing::Kept)],
    },
    Fixer {
        name: "scaleway-access-key",
        summary: "renames `access_key` of Scaleway builders to `organization_id`",
        target: Target::Builders(&[Kind::Is("scaleway")]),
        changes: &[renamed("access_key", "organization_id", Only::Strings, Existing::Kept)],
    },
    Fixer {
        name: "manifest-filename",
        summary: "renames `filename` of `manifest` post-processors to `output`",
        target: Target::PostProcessors("manifest"),
        changes: &[renamed("filename", "output", Only::Strings, Existing::Replaced)],
    },
    Fixer {
        name: "amazon-shutdown_behavior",
        summary: "renames `shutdown_behaviour` of Amazon builders to `shutdown_behavior`",
        target: Target::Builders(AMAZON),
        changes: &[renamed("shutdown_behaviour", "shutdown_behavior", Only::Any, Existing::Replaced)],
    },
    Fixer {
        name: "amazon-enhanced-networking",
        summary: "renames `enhanced_networking` of Amazon builders to `ena_support`",
        target: Target::Builders(AMAZON),
        changes: &[renamed("enhanced_networking", "ena_support", Only::Bools, Existing::Replaced)],
    },
    Fixer {
        name: "amazon-private-ip",
        summary: "writes `ssh_private_ip` of Amazon builders as `ssh_interface`",
        target: Target::Builders(AMAZON),
        changes: &[Change::Call(rules::private_ip)],
    },
    Fixer {
        name: "amazon-temp-sec-cidrs",
        summary: "makes `temporary_security_group_source_cidr` of Amazon builders a list, `temporary_security_group_source_cidrs`",
        target: Target::Builders(AMAZON),
        changes: &[Change::Call(rules::source_cidrs)],
    },
    Fixer {
        name: "docker-email",
        summary: "removes `login_email`, which Docker has no use for",
        target: Target::Template,
        changes: &[Change::Call(rules::login_email)],
    },
    Fixer {
        name: "docker-tag-tags",
        summary: "makes `tag` of `docker-tag` post-processors a list, `tags`",
        target: Target::PostProcessors("docker-tag"),
        changes: &[Change::Call(rules::docker_tags)],
    },
    Fixer {
        name: "powershell-escapes",
        summary: "removes escapes from variables and accounts of `powershell` provisioners",
        target: Target::Provisioners("powershell"),
        changes: &[Change::Call(rules::powershell)],
    },
    Fixer {
        name: "vmware-compaction",
        summary: "adds `skip_compaction` to `vmware-iso` builders whose disks cannot be compacted",
        target: Target::Builders(&[Kind::Is("vmware-iso")]),
        changes: &[Change::Call(rules::compaction)],
    },
    Fixer {
        name: "hyperv-deprecations",
        summary: "removes `vhd_temp_path` of `hyperv-iso` builders",
        target: Target::Builders(&[Kind::Is("hyperv-iso")]),
        changes: &[Change::Remove("vhd_temp_path")],
    },
    Fixer {
        name: "hyperv-vmxc-typo",
        summary: "renames `clone_from_vmxc_path` of `hyperv-vmcx` builders to `clone_from_vmcx_path`",
        target: Target::Builders(&[Kind::Is("hyperv-vmcx")]),
        changes: &[renamed("clone_from_vmxc_path", "clone_from_vmcx_path", Only::Any, Existing::Replaced)],
    },
    Fixer {
        name: "hyperv-cpu-and-ram",
        summary: "renames `cpu` of Hyper-V builders to `cpus`, and `ram_size` to `memory`",
        target: Target::Builders(&[Kind::Is("hyperv-vmcx"), Kind::Is("hyperv-iso")]),
        changes: &[
            renamed("cpu", "cpus", Only::Any, Existing::Replaced),
            renamed("ram_size", "memory", Only::Any, Existing::Replaced),
        ],
    },
    Fixer {
        name: "clean-image-name",
        summary: "writes `clean_ami_name` and `clean_image_name` as `clean_resource_name`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::clean_resource_name)],
    },
    Fixer {
        name: "spot-price-auto-product",
        summary: "removes `spot_price_auto_product` of Amazon builders",
        target: Target::Builders(&[
            Kind::Is("amazon-ebs"),
            Kind::Is("amazon-ebssurrogate"),
            Kind::Is("amazon-ebsvolume"),
            Kind::Is("amazon-instance"),
        ]),
        changes: &[Change::Remove("spot_price_auto_product")],
    },
    Fixer {
        name: "qemu-disk-size",
        summary: "gives `disk_size` of `qemu` builders its unit",
        target: Target::Builders(QEMU),
        changes: &[Change::Call(rules::disk_size)],
    },
    Fixer {
        name: "galaxy-command",
        summary: "renames `galaxycommand` of `ansible-local` provisioners to `galaxy_command`",
        target: Target::Provisioners("ansible-local"),
        changes: &[renamed("galaxycommand", "galaxy_command", Only::Strings, Existing::Final)],
    },
    Fixer {
        name: "comm-config",
        summary: "removes `ssh_` from the port forwarding of VirtualBox builders",
        target: Target::Builders(&[Kind::Begins("virtualbox")]),
        changes: &[
            renamed("ssh_host_port_min", "host_port_min", Only::Any, Existing::Final),
            renamed("ssh_host_port_max", "host_port_max", Only::Any, Existing::Final),
            renamed("ssh_skip_nat_mapping", "skip_nat_mapping", Only::Bools, Existing::Final),
        ],
    },
    Fixer {
        name: "ssh-wait-timeout",
        summary: "renames `ssh_wait_timeout` to `ssh_timeout`",
        target: Target::Builders(ANY),
        changes: &[renamed("ssh_wait_timeout", "ssh_timeout", Only::Strings, Existing::Final)],
    },
    Fixer {
        name: "vsphere-iso-net-disk",
        summary: "moves networks and disks of `vsphere-iso` builders into `network_adapters` and `storage`",
        target: Target::Builders(&[Kind::Is("vsphere-iso")]),
        changes: &[Change::Call(rules::adapters), Change::Call(rules::storage)],
    },
    Fixer {
        name: "iso-checksum-type-and-url",
        summary: "writes `iso_checksum_type` and `iso_checksum_url` into `iso_checksum`",
        target: Target::Builders(ANY),
        changes: &[Change::Call(rules::checksum)],
    },
    Fixer {
        name: "qemu-host-port",
        summary: "renames `ssh_host_port_min` and `_max` of `qemu` builders to `host_port_min` and `_max`",
        target: Target::Builders(QEMU),
        changes: &[
            renamed("ssh_host_port_min", "host_port_min", Only::Any, Existing::Replaced),
            renamed("ssh_host_port_max", "host_port_max", Only::Any, Existing::Replaced),
        ],
    },
    Fixer {
        name: "azure-exclude_from_latest",
        summary: "renames `exlude_from_latest` of `azure-chroot` builders to `exclude_from_latest`",
        target: Target::Builders(&[Kind::Begins("azure-chroot")]),
        changes: &[Change::Call(rules::exclude_from_latest)],
    },
    Fixer {
        name: "proxmox-type",
        summary: "renames the builder `proxmox` to `proxmox-iso`",
        target: Target::Builders(&[Kind::Is("proxmox")]),
        changes: &[Change::Type("proxmox-iso")],
    },
];
