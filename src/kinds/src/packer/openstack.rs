//! The plugin `openstack`.

use imgbuild_model::Role::{Content, Machine, Naming, Placement, Policy, Transport};
use imgbuild_model::{BlockSchema, KindSchema, Rule, Table};

use super::attribute::{builder, dict, flag, int, secret, text, texts, word};
use super::communicator::{COMM_WITH_LOGIN, SSH_INTERFACE, SSH_IP_VERSION};

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&OPENSTACK];

const ACCESS: Table = Table::of(&[
    text("username", Placement, "The user."),
    text("user_id", Placement, "The user, by id."),
    secret("password", Placement, "The password."),
    text("identity_endpoint", Placement, "Where the identity service is."),
    text("tenant_id", Placement, "The project, by id."),
    text("tenant_name", Placement, "The project."),
    text("domain_id", Placement, "The domain, by id."),
    text("domain_name", Placement, "The domain."),
    flag("insecure", Transport, "Whether the server's certificate goes unchecked."),
    text("region", Placement, "The region."),
    word("endpoint_type", &["internal", "internalURL", "admin", "adminURL", "public", "publicURL"], Transport, "Which of a service's addresses is used."),
    text("cacert", Transport, "A file with certificates to trust."),
    text("cert", Placement, "A file with the user's certificate."),
    text("key", Placement, "A file with the key of that certificate."),
    secret("token", Placement, "A token."),
    text("application_credential_name", Placement, "The application's credential."),
    text("application_credential_id", Placement, "The application's credential, by id."),
    secret("application_credential_secret", Placement, "The secret of that credential."),
    text("cloud", Placement, "A cloud of the file `clouds.yaml`."),
])
.rules(&[Rule::Together(&["cert", "key"])]);

const SOURCE: Table = Table::of(&[
    text("source_image", Content, "The image to start from, by id."),
    text("source_image_name", Content, "The image to start from."),
    text("external_source_image_url", Content, "The image to start from, from elsewhere."),
    text("external_source_image_format", Content, "That image's format.").or_text("qcow2"),
    dict("external_source_image_properties", Content, "That image's properties."),
])
.blocks(&[BlockSchema::one(
    "source_image_filter",
    "What is known of the image to start from.",
    Table::of(&[flag("most_recent", Content, "Whether the newest of several is taken.")]).blocks(&[BlockSchema::one(
        "filters",
        "What must hold.",
        Table::of(&[
            text("name", Content, "The image's name."),
            text("owner", Content, "Whose the image is."),
            texts("tags", Content, "The image's tags."),
            text("visibility", Content, "Who can see the image."),
            dict("properties", Content, "The image's properties."),
        ]),
    )]),
)])
.rules(&[Rule::ExactlyOne(&["source_image", "source_image_name", "external_source_image_url", "source_image_filter"])]);

const IMAGE: Table = Table::of(&[
    text("image_name", Naming, "The image's name.").required(),
    dict("metadata", Machine, "The image's properties."),
    word("image_visibility", &["public", "private", "shared", "community"], Policy, "Who can see the image."),
    texts("image_members", Policy, "Projects that may use the image."),
    flag("image_auto_accept_members", Policy, "Whether those projects accept it at once."),
    text("image_disk_format", Content, "The image's format, for one made of a volume."),
    texts("image_tags", Naming, "The image's tags."),
    int("image_min_disk", Machine, "The least disk in gibibytes that the image needs."),
    flag("skip_create_image", Policy, "Whether no image is made."),
    int("image_creation_wait", Policy, "How many seconds to wait for the image."),
]);

/// An image of a server.
static OPENSTACK: KindSchema = KindSchema {
    attributes: &[
        SSH_INTERFACE,
        SSH_IP_VERSION,
        text("flavor", Placement, "The size of the server.").required(),
        text("availability_zone", Placement, "The zone."),
        flag("rackconnect_wait", Policy, "Whether RackConnect is waited for."),
        text("floating_ip_network", Placement, "The network that a floating address is taken from."),
        text("instance_floating_ip_net", Placement, "The server's network that the address leads to."),
        text("floating_ip", Placement, "A floating address that is there already."),
        flag("reuse_ips", Placement, "Whether a floating address that nobody uses is taken."),
        text("floating_ip_pool", Placement, "The network that a floating address is taken from.").old_name_of("floating_ip_network"),
        flag("use_floating_ip", Placement, "Whether the server gets a floating address.").deprecated("it does nothing"),
        texts("security_groups", Placement, "The server's security groups."),
        texts("networks", Placement, "The server's networks, by id."),
        texts("ports", Placement, "The server's ports, by id."),
        texts("network_discovery_cidrs", Placement, "Addresses in which networks are looked for."),
        text("user_data", Content, "What the server is told at its first boot."),
        text("user_data_file", Content, "A file with what the server is told at its first boot."),
        text("instance_name", Naming, "The server's name; the image's if absent."),
        dict("instance_metadata", Content, "The server's metadata."),
        flag("force_delete", Policy, "Whether the server is deleted by force."),
        flag("config_drive", Machine, "Whether the server has a drive with its metadata."),
        flag("use_blockstorage_volume", Placement, "Whether the server's disk is a volume."),
        text("volume_name", Naming, "The volume's name; made up if absent."),
        text("volume_type", Placement, "The kind of volume."),
        int("volume_size", Machine, "The volume's size in gibibytes; what the source needs if absent."),
        text("volume_availability_zone", Placement, "The volume's zone."),
        text("openstack_provider", Placement, "The provider.").deprecated("it does nothing"),
    ],
    rules: &[Rule::AtMostOne(&["user_data", "user_data_file"])],
    includes: &[&ACCESS, &IMAGE, &SOURCE, &COMM_WITH_LOGIN],
    ..builder("openstack", "An image of OpenStack, made of a server that was provisioned.")
};
