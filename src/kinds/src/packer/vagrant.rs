//! The plugin `vagrant`.

use imgbuild_model::Role::{Content, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, KindSchema, Rule, Table};

use super::attribute::{any, builder, flag, int, post_processor, secret, text, texts, word};
use super::common::{BOOT, FLOPPY, HTTP, ISO_OPTIONAL};
use super::communicator::CONNECTION;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&VAGRANT, &BOX, &CLOUD, &REGISTRY];

/// A box made of another.
static VAGRANT: KindSchema = KindSchema {
    attributes: &[
        word("communicator", &["ssh"], Transport, "How the machine is reached; there is no default.").required(),
        text("output_dir", Output, "The folder that the box is put into; `output-` and the build's name if absent."),
        text("source_path", Content, "The box to start from: its name, a file or an address."),
        text("global_id", Content, "A machine of Vagrant that is there already."),
        text("checksum", Content, "The checksum of the box to start from."),
        text("box_name", Naming, "What the box is called that is made."),
        flag("insert_key", Content, "Whether Vagrant puts a new key into it."),
        text("provider", Placement, "What runs it."),
        word("teardown_method", &["halt", "suspend", "destroy"], Policy, "What becomes of the machine.").or_text("halt"),
        text("box_version", Content, "The version of the box to start from."),
        text("template", Content, "A file with a template of the Vagrantfile.").late(),
        text("synced_folder", Content, "A folder that the machine sees."),
        flag("skip_add", Policy, "Whether the box is there already."),
        text("add_cacert", Transport, "A file with certificates to trust."),
        text("add_capath", Transport, "A folder with certificates to trust."),
        text("add_cert", Transport, "A file with the user's certificate."),
        flag("add_clean", Policy, "Whether an unfinished download is started again."),
        flag("add_force", Policy, "Whether a box of that name is overwritten."),
        flag("add_insecure", Transport, "Whether the server's certificate goes unchecked."),
        flag("skip_package", Output, "Whether no box is made."),
        text("output_vagrantfile", Content, "A Vagrantfile that goes into the box."),
        texts("package_include", Content, "Files that go into the box."),
    ],
    rules: &[Rule::ExactlyOne(&["source_path", "global_id"])],
    includes: &[&CONNECTION, &HTTP, &ISO_OPTIONAL, &FLOPPY, &BOOT],
    ..builder("vagrant", "A box, made of a machine that Vagrant runs.")
};

const ARCHITECTURE: AttributeSchema = text("architecture", Content, "The box's architecture; that of this host if absent.");

/// A box of an artifact.
static BOX: KindSchema = KindSchema {
    attributes: &[
        int("compression_level", Content, "How hard to compress, from 0 to 9; the format's own level if -1.").or_int(-1).between(-2, 9),
        texts("include", Content, "Files that go into the box."),
        text("output", Output, "The box: a template with `.BuildName`, `.Provider` and `.Architecture`.")
            .or_text("packer_{{.BuildName}}_{{.Provider}}_{{.Architecture}}.box")
            .late(),
        any("override", Content, "Attributes for single providers, by the provider's name."),
        text("vagrantfile_template", Content, "A file with a template of the Vagrantfile."),
        flag("vagrantfile_template_generated", Policy, "Whether that file is made during the build."),
        text("provider_override", Content, "The provider that the box is for, whatever the artifact says."),
        ARCHITECTURE,
    ],
    ..post_processor("vagrant", "Makes a box of an artifact.")
};

/// What both registries of boxes take.
const UPLOAD: Table = Table::of(&[
    text("box_tag", Naming, "The box, as `owner/name`.").required(),
    text("version", Naming, "The box's version.").required(),
    text("version_description", Naming, "What is new in it."),
    flag("no_release", Policy, "Whether the version is not released."),
    ARCHITECTURE,
    text("default_architecture", Policy, "The architecture that is taken by default."),
    flag("insecure_skip_tls_verify", Transport, "Whether the server's certificate goes unchecked."),
    text("box_download_url", Output, "Where the box is, if it is kept elsewhere."),
    flag("no_direct_upload", Transport, "Whether the box goes through the registry's server."),
    text("box_checksum", Content, "The box's checksum, as `type:digits`."),
]);

/// The former registry.
static CLOUD: KindSchema = KindSchema {
    attributes: &[
        secret("access_token", Placement, "The account's token; that of the environment if absent."),
        text("vagrant_cloud_url", Transport, "Where the registry is.").or_text("https://vagrantcloud.com/api/v2"),
    ],
    includes: &[&UPLOAD],
    ..post_processor("vagrant-cloud", "Sends a box to Vagrant Cloud.")
};

/// The registry.
static REGISTRY: KindSchema = KindSchema {
    attributes: &[
        text("box_description", Naming, "The box's description."),
        flag("box_private", Policy, "Whether the box is for some only."),
        text("client_id", Placement, "The account's client."),
        secret("client_secret", Placement, "The secret of that client."),
        text("hcp_api_address", Transport, "Where the registry is."),
        text("hcp_auth_url", Transport, "Where one logs in."),
    ],
    includes: &[&UPLOAD],
    ..post_processor("vagrant-registry", "Sends a box to the HCP Vagrant registry.")
};
