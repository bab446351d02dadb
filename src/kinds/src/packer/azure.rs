//! The plugin `azure`.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, BlockSchema, KindSchema, OutputSchema, Rule, Table};

use super::attribute::{
    builder, data_source, dict, dur, flag, int, ints, number, output, provisioner, secret,
    secret_output, text, texts, word,
    word_any_case,
};
use super::common::{CHROOT as IN_CHROOT, NAME_VALUE};
use super::communicator::COMM;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&ARM, &CHROOT, &DTL, &DTLARTIFACT, &KEYVAULTSECRET];

/// Who asks.
const ACCESS: Table = Table::of(&[
    text("cloud_environment_name", Placement, "Which of Azure's clouds; the public one if absent."),
    text("metadata_host", Transport, "The server that says where the cloud's services are."),
    text("client_id", Placement, "The application."),
    secret("client_secret", Placement, "The application's password."),
    text("client_cert_path", Placement, "A file with the application's certificate."),
    secret("client_cert_password", Placement, "The password of that file."),
    secret("client_jwt", Placement, "A signed claim to be the application."),
    text("object_id", Placement, "The application's object.").deprecated("it is found without it"),
    text("tenant_id", Placement, "The directory."),
    text("subscription_id", Placement, "The subscription."),
    secret("oidc_request_token", Placement, "The token to ask an identity provider with."),
    text("oidc_request_url", Placement, "Where that provider is."),
    flag("use_azure_cli_auth", Placement, "Whether the log-in of Azure's program is used."),
])
.rules(&[
    Rule::Together(&["oidc_request_token", "oidc_request_url"]),
]);

const SKIP_CREATE_IMAGE: AttributeSchema = flag("skip_create_image", Policy, "Whether no image is made.");
const OS_DISK_SIZE: AttributeSchema = int("os_disk_size_gb", Machine, "The disk's size in gibibytes; that of the source if absent.").at_least(1);
const POLLING_TIMEOUT: AttributeSchema = dur("polling_duration_timeout", Policy, "How long the cloud may take.").or_text("15m");
const AZURE_TAGS: AttributeSchema = dict("azure_tags", Naming, "Tags of all that is made.").at_most(50);
const STORAGE: &[&str] = &["Standard_LRS", "Standard_ZRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS", "PremiumV2_LRS", "UltraSSD_LRS"];
const CACHING: &[&str] = &["None", "ReadOnly", "ReadWrite"];
const GALLERY_NAME: AttributeSchema = text("gallery_name", Naming, "The gallery.");
const GALLERY_IMAGE: AttributeSchema = text("image_name", Naming, "The image's definition in the gallery.");
const GALLERY_VERSION: AttributeSchema = text("image_version", Naming, "The image's version in the gallery.");
const GALLERY_GROUP: AttributeSchema = text("resource_group", Placement, "The gallery's resource group.");
const GALLERY_SUBSCRIPTION: AttributeSchema = text("subscription", Placement, "The gallery's subscription.");
const REPLICATION_REGIONS: AttributeSchema = texts("replication_regions", Placement, "Regions that the image is copied to.");

/// The image of a gallery to start from.
const SOURCE_GALLERY: Table = Table::of(&[
    text("subscription", Content, "The gallery's subscription."),
    text("resource_group", Content, "The gallery's resource group."),
    text("gallery_name", Content, "The gallery."),
    text("image_name", Content, "The image's definition."),
    text("image_version", Content, "The image's version; the newest if absent."),
]);

/// What machines of both builders with a machine have.
const MACHINE: Table = Table::of(&[
    SKIP_CREATE_IMAGE,
    text("capture_name_prefix", Naming, "How the names of captured disks start."),
    text("capture_container_name", Output, "The container that captured disks are put into."),
    dur("shared_image_gallery_timeout", Policy, "How long the gallery may take.").or_text("60m"),
    text("image_publisher", Content, "The publisher of the image of the marketplace."),
    text("image_offer", Content, "The offer of that image."),
    text("image_sku", Content, "The variant of that image."),
    text("image_version", Content, "The version of that image; the newest if absent."),
    text("image_url", Content, "The disk to start from."),
    text("custom_managed_image_resource_group_name", Content, "The resource group of the managed image to start from."),
    text("custom_managed_image_name", Content, "The managed image to start from."),
    text("location", Placement, "The region."),
    text("vm_size", Placement, "The size of the machine.").or_text("Standard_A1"),
    text("managed_image_resource_group_name", Placement, "The resource group of the managed image that is made."),
    text("managed_image_name", Naming, "The managed image that is made."),
    word("managed_image_storage_account_type", &["Standard_LRS", "Premium_LRS"], Placement, "The kind of storage of that image.").or_text("Standard_LRS"),
    AZURE_TAGS,
    POLLING_TIMEOUT,
    word_any_case("os_type", &["Linux", "Windows"], Machine, "The system on the source."),
    OS_DISK_SIZE,
    ints("disk_additional_size", Machine, "Sizes of further disks in gibibytes."),
    word("disk_caching_type", CACHING, Placement, "How disks are cached.").or_text("ReadWrite"),
])
.rules(&[
    Rule::Together(&["image_publisher", "image_offer", "image_sku"]),
    Rule::Together(&["custom_managed_image_name", "custom_managed_image_resource_group_name"]),
    Rule::ExactlyOne(&["image_publisher", "custom_managed_image_name", "image_url", "shared_image_gallery"]),
])
.includes(&[&COMM, &ACCESS]);

const ARM_GALLERY_TARGET: BlockSchema = BlockSchema::one(
    "shared_image_gallery_destination",
    "The place of a gallery that the image is put into.",
    Table::of(&[
        GALLERY_SUBSCRIPTION,
        GALLERY_GROUP,
        GALLERY_NAME,
        GALLERY_IMAGE,
        GALLERY_VERSION,
        REPLICATION_REGIONS,
        word_any_case("storage_account_type", &["Standard_LRS", "Standard_ZRS", "Premium_LRS", "PremiumV2_LRS"], Placement, "The kind of storage."),
        flag("specialized", Content, "Whether the image keeps its accounts and names."),
        flag("use_shallow_replication", Policy, "Whether the image is only pointed to."),
        text("confidential_vm_image_encryption_type", Placement, "How images of confidential machines are encrypted."),
    ])
    .blocks(&[BlockSchema::many(
        "target_region",
        "A region that the image is copied to.",
        Table::of(&[
            text("name", Placement, "The region.").required(),
            text("disk_encryption_set_id", Placement, "The keys that encrypt it there."),
            int("replicas", Placement, "The number of copies.").between(1, 100),
        ]),
    )])
    .rules(&[Rule::AtMostOne(&["replication_regions", "target_region"])]),
);

const ARM_PLACES: Table = Table::of(&[
    text("storage_account", Output, "The storage account that captured disks are put into."),
    text("resource_group_name", Output, "The resource group of that account."),
    text("temp_compute_name", Naming, "The machine's name; made up if absent."),
    text("temp_nic_name", Naming, "The network card's name; made up if absent."),
    text("temp_os_disk_name", Naming, "The disk's name; made up if absent."),
    text("temp_resource_group_name", Naming, "The resource group that is made; made up if absent."),
    text("build_resource_group_name", Placement, "A resource group that is there already."),
    text("build_key_vault_name", Placement, "A key vault that is there already."),
    text("build_key_vault_secret_name", Naming, "What the certificate is called there."),
    text("build_key_vault_sku", Placement, "The kind of key vault.").or_text("standard"),
    flag("skip_create_build_key_vault", Policy, "Whether no key vault is made."),
    text("disk_encryption_set_id", Placement, "The keys that encrypt disks."),
    flag("private_virtual_network_with_public_ip", Transport, "Whether a machine in a private network has a public address."),
    text("virtual_network_name", Placement, "A network that is there already."),
    text("virtual_network_subnet_name", Placement, "The subnet of that network."),
    text("virtual_network_resource_group_name", Placement, "The resource group of that network."),
    flag("accelerated_networking", Placement, "Whether the network card is the machine's own."),
    texts("allowed_inbound_ip_addresses", Transport, "Addresses that may reach the machine."),
    text("boot_diag_storage_account", Policy, "The storage account for what the machine says at its boot."),
    dur("sas_token_duration", Policy, "How long links to disks are good for."),
    text("custom_resource_build_prefix", Naming, "How names that are made up start."),
    word("public_ip_sku", &["Basic", "Standard"], Placement, "The kind of public address.").or_text("Standard"),
    flag("async_resourcegroup_delete", Policy, "Whether the end of the resource group is not waited for."),
])
.rules(&[
    Rule::AtMostOne(&["temp_resource_group_name", "build_resource_group_name"]),
    Rule::Needs("virtual_network_subnet_name", &["virtual_network_name"]),
    Rule::Needs("virtual_network_resource_group_name", &["virtual_network_name"]),
]);

const ARM_MACHINE: Table = Table::of(&[
    texts("user_assigned_managed_identities", Placement, "Identities that the machine has."),
    ints("disk_additional_luns", Machine, "The numbers of further disks."),
    word_any_case("disk_controller_type", &["SCSI", "NVMe"], Machine, "How disks are attached."),
    text("custom_data_file", Content, "A file with what the machine is told at its first boot."),
    text("custom_data", Content, "What the machine is told at its first boot, in base 64."),
    text("user_data_file", Content, "A file with what the machine can ask for as long as it lives."),
    text("user_data", Content, "What the machine can ask for as long as it lives, in base 64."),
    text("custom_script", Content, "A command that the machine runs at its first boot."),
    text("winrm_expiration_time", Transport, "How long WinRM's certificate is good for."),
    text("license_type", Policy, "The licence that is brought along."),
    flag("secure_boot_enabled", Machine, "Whether the machine boots signed code alone."),
    flag("encryption_at_host", Placement, "Whether the host encrypts disks."),
    flag("vtpm_enabled", Machine, "Whether the machine has a TPM."),
    word_any_case("security_type", &["TrustedLaunch", "ConfidentialVM", "Standard"], Machine, "How the machine is guarded."),
    word_any_case("security_encryption_type", &["VMGuestStateOnly", "DiskWithVMGuestState", "NonPersistedTPM"], Machine, "What of a confidential machine is encrypted."),
])
.blocks(&[
    BlockSchema::one(
        "spot",
        "What the machine may cost.",
        Table::of(&[
            word("eviction_policy", &["Deallocate", "Delete"], Placement, "What becomes of it when it is taken away."),
            number("max_price", Placement, "The most that an hour may cost; any price if -1."),
        ]),
    ),
    BlockSchema::one(
        "plan_info",
        "The plan of the image of the marketplace.",
        Table::of(&[
            text("plan_name", Content, "The plan."),
            text("plan_product", Content, "The product."),
            text("plan_publisher", Content, "The publisher."),
            text("plan_promotion_code", Policy, "A code of a promotion."),
        ])
        .rules(&[
            Rule::Together(&["plan_name", "plan_product", "plan_publisher"]),
            Rule::Needs("plan_promotion_code", &["plan_name"]),
        ]),
    ),
])
.rules(&[Rule::AtMostOne(&["custom_data", "custom_data_file"]), Rule::AtMostOne(&["user_data", "user_data_file"])]);

const TEMPORARY: &[OutputSchema] = &[
    output("SourceImageName", "The image that it started from."),
    output("TenantID", "The directory."),
    output("SubscriptionID", "The subscription."),
    output("TempDeploymentName", "The deployment of the build."),
    output("TempComputeName", "The machine of the build."),
    output("TempNicName", "The network card of the build."),
    output("TempOSDiskName", "The disk of the build."),
    output("TempResourceGroupName", "The resource group of the build."),
    output("TempNsgName", "The network security group of the build."),
    output("TempKeyVaultName", "The key vault of the build."),
    output("TempSubnetName", "The subnet of the build."),
    output("TempDataDiskName", "The data disk of the build."),
    output("TempVirtualNetworkName", "The network of the build."),
    output("TempPublicIPAddressName", "The public address of the build."),
];

/// An image of a machine.
static ARM: KindSchema = KindSchema {
    attributes: &[
        text("shared_gallery_image_version_end_of_life_date", Policy, "When the version in the gallery ends, as RFC 3339 writes times."),
        int("shared_image_gallery_replica_count", Placement, "The number of copies of the version in the gallery.").between(1, 100),
        flag("shared_gallery_image_version_exclude_from_latest", Policy, "Whether the version is never the newest."),
        text("managed_image_os_disk_snapshot_name", Naming, "A snapshot of the disk that is made."),
        text("managed_image_data_disk_snapshot_prefix", Naming, "How the names of snapshots of further disks start."),
        flag("keep_os_disk", Policy, "Whether the disk is kept."),
        flag("managed_image_zone_resilient", Placement, "Whether the managed image is kept in several zones."),
    ],
    blocks: &[
        BlockSchema::one(
            "shared_image_gallery",
            "The image of a gallery to start from.",
            Table::of(&[
                text("id", Content, "The image's full id."),
                text("community_gallery_image_id", Content, "The image's id in a gallery of the community."),
                text("direct_shared_gallery_image_id", Content, "The image's id in a gallery that is shared."),
            ])
            .includes(&[&SOURCE_GALLERY]),
        ),
        ARM_GALLERY_TARGET,
        BlockSchema::many("azure_tag", "A tag of all that is made.", NAME_VALUE),
    ],
    rules: &[
        Rule::Together(&["managed_image_name", "managed_image_resource_group_name"]),
        Rule::Together(&["capture_container_name", "capture_name_prefix"]),
        Rule::AtLeastOne(&["managed_image_name", "capture_container_name", "shared_image_gallery_destination", "skip_create_image", "keep_os_disk"]),
        Rule::AtMostOne(&["managed_image_name", "capture_container_name"]),
        Rule::ExactlyOne(&["location", "build_resource_group_name"]),
        Rule::All(&["os_type"]),
    ],
    includes: &[&MACHINE, &ARM_MACHINE, &ARM_PLACES],
    outputs: TEMPORARY,
    ..builder("azure-arm", "An image of Azure, made of a machine that was provisioned.")
};

/// An image made on the machine that the program runs on.
static CHROOT: KindSchema = KindSchema {
    attributes: &[
        SKIP_CREATE_IMAGE,
        flag("from_scratch", Content, "Whether it starts from an empty disk."),
        text("source", Content, "The image or disk to start from."),
        text("manual_mount_command", Content, "The command that mounts the disk, in place of the usual one.").late(),
        text("mount_path", Placement, "Where the disk is mounted.").or_text("/mnt/packer-azure-chroot-disks/{{.Device}}").late(),
        OS_DISK_SIZE,
        word_any_case("os_disk_storage_account_type", STORAGE, Placement, "The kind of storage of the disk."),
        word_any_case("os_disk_cache_type", CACHING, Placement, "How the disk is cached."),
        word_any_case("data_disk_storage_account_type", STORAGE, Placement, "The kind of storage of further disks."),
        word_any_case("data_disk_cache_type", CACHING, Placement, "How further disks are cached."),
        word("image_hyperv_generation", &["V1", "V2"], Machine, "The generation of the image's machines.").or_text("V1"),
        text("temporary_os_disk_id", Naming, "The full id of the disk; made up if absent."),
        text("temporary_os_disk_snapshot_id", Naming, "The full id of the disk's snapshot; made up if absent."),
        text("temporary_data_disk_id_prefix", Naming, "How the full ids of further disks start."),
        text("temporary_data_disk_snapshot_id", Naming, "How the full ids of their snapshots start."),
        text("lvm_root_device", Content, "The logical volume that is mounted."),
        texts("pre_unmount_commands", Content, "Commands before the disk is unmounted.").late(),
        flag("skip_cleanup", Policy, "Whether temporary disks and snapshots are left there."),
        text("image_resource_id", Naming, "The full id of the managed image that is made."),
    ],
    blocks: &[BlockSchema::one(
        "shared_image_destination",
        "The place of a gallery that the image is put into.",
        Table::of(&[
            GALLERY_GROUP.required(),
            GALLERY_NAME.required(),
            GALLERY_IMAGE.required(),
            GALLERY_VERSION.required(),
            flag("exclude_from_latest", Policy, "Whether the version is never the newest."),
            flag("exlude_from_latest", Policy, "Whether the version is never the newest.").old_name_of("exclude_from_latest"),
        ])
        .blocks(&[BlockSchema::many(
            "target_regions",
            "A region that the image is copied to.",
            Table::of(&[
                text("name", Placement, "The region.").required(),
                int("replicas", Placement, "The number of copies.").at_least(1),
                text("storage_account_type", Placement, "The kind of storage."),
            ]),
        )]),
    )],
    rules: &[
        Rule::ExactlyOne(&["source", "from_scratch"]),
        Rule::Needs("from_scratch", &["os_disk_size_gb", "pre_mount_commands"]),
        Rule::AtLeastOne(&["image_resource_id", "shared_image_destination", "skip_create_image"]),
    ],
    includes: &[&IN_CHROOT, &ACCESS],
    ..builder("azure-chroot", "An image of Azure, made of a disk on the machine that this runs on.")
};

const PARAMETERS: BlockSchema = BlockSchema::many(
    "parameters",
    "A parameter.",
    Table::of(&[
        text("name", Content, "Its name."),
        text("value", Content, "Its value."),
        text("type", Content, "Its type."),
    ]),
);

const ARTIFACT_NAME: AttributeSchema = text("artifact_name", Content, "The artifact.");
const ARTIFACT_ID: AttributeSchema = text("artifact_id", Content, "The artifact's full id.");
const LAB_NAME: AttributeSchema = text("lab_name", Placement, "The lab.").required();
const LAB_GROUP: AttributeSchema = text("lab_resource_group_name", Placement, "The lab's resource group.").required();

/// An image of a machine in a lab.
static DTL: KindSchema = KindSchema {
    attributes: &[
        dur("custom_image_capture_timeout", Policy, "How long the capture may take."),
        text("plan_id", Content, "The plan of the image of the marketplace."),
        text("storage_type", Placement, "The kind of storage."),
        text("lab_virtual_network_name", Placement, "The lab's network."),
        LAB_NAME,
        text("lab_subnet_name", Placement, "The lab's subnet.").required(),
        LAB_GROUP,
        text("vm_name", Naming, "The machine's name; made up if absent."),
        flag("disallow_public_ip", Transport, "Whether the machine has no public address."),
        flag("skip_sysprep", Content, "Whether the machine keeps its accounts and names."),
        secret("password", Transport, "The password of the machine's user."),
    ],
    blocks: &[
        BlockSchema::one("shared_image_gallery", "The image of a gallery to start from.", SOURCE_GALLERY),
        BlockSchema::one(
            "shared_image_gallery_destination",
            "The place of a gallery that the image is put into.",
            Table::of(&[GALLERY_GROUP, GALLERY_NAME, GALLERY_IMAGE, GALLERY_VERSION, REPLICATION_REGIONS]),
        ),
        BlockSchema::many(
            "dtl_artifacts",
            "An artifact of the lab that is applied.",
            Table::of(&[ARTIFACT_NAME, text("repository_name", Content, "The repository that has it."), ARTIFACT_ID])
                .blocks(&[PARAMETERS]),
        ),
    ],
    rules: &[Rule::All(&["managed_image_name", "managed_image_resource_group_name", "os_type", "lab_virtual_network_name"])],
    includes: &[&MACHINE],
    outputs: TEMPORARY,
    ..builder("azure-dtl", "An image of Azure, made of a machine in a lab.")
};

/// Artifacts of a lab.
static DTLARTIFACT: KindSchema = KindSchema {
    attributes: &[
        LAB_NAME,
        LAB_GROUP,
        text("vm_name", Placement, "The machine.").required(),
        POLLING_TIMEOUT,
        AZURE_TAGS,
        dict("json", Content, "Further settings."),
    ],
    blocks: &[BlockSchema::many(
        "dtl_artifacts",
        "An artifact that is applied.",
        Table::of(&[ARTIFACT_NAME, ARTIFACT_ID]).blocks(&[PARAMETERS]),
    )
    .required()],
    includes: &[&ACCESS],
    ..provisioner("azure-dtlartifact", "Applies artifacts of a lab to a machine.")
};

/// A secret.
static KEYVAULTSECRET: KindSchema = KindSchema {
    attributes: &[
        text("vault_name", Content, "The key vault.").required(),
        text("secret_name", Content, "The secret.").required(),
        text("version", Content, "The version; the newest if absent."),
    ],
    includes: &[&ACCESS],
    outputs: &[secret_output("response", "The whole answer."), secret_output("value", "The secret.")],
    ..data_source("azure-keyvaultsecret", "A secret of an Azure key vault.")
};
