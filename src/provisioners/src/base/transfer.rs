//! Manifests and blobs out of a registry, into the cache: verified, with patience.
//!
//! What is not here: which of them an image needs (`pull`), and where a registry is and who may read it (`resolve`).

use std::io::{self, Write as _};

use futures::StreamExt as _;
use imgbuild_cache::{BlobWriter, Cache, Lease, Run};
use imgbuild_debian::fetch::RetryPolicy;
use imgbuild_digest::{Digest, Hash};
use imgbuild_engine::ActionError;
use imgbuild_model::{Class, Diagnostic, Platform};
use oci_client::client::{BlobResponse, Client, SizedStream};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};

use crate::resolve::ArchiveConfig;
use crate::resolve::registry;

/// The sizes of manifests, which nothing but a manifest's own bytes would tell.
const SIZE_MEMO: &str = "oci-manifest-size";

/// No manifest or configuration is larger; registries refuse more than 4 MiB.
pub(super) const MAX_DOCUMENT: u64 = 16 << 20;

/// What manifests are asked for.
const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A repository of a registry.
pub(super) struct Repository<'a> {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    policy: &'a RetryPolicy,
    platform: Platform,
    cache: &'a Cache,
    run: &'a Run,
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt would fail too.
    Final(ActionError),
    /// Another attempt may succeed.
    Passing {
        /// What happened.
        reason: String,
        /// Whether something had come.
        progress: bool,
    },
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), progress: false }
    }
}

/// Counts attempts. A slow transfer that comes on is never given up.
struct Patience<'a> {
    repository: &'a Repository<'a>,
    name: &'a str,
    failures: u32,
}

impl<'a> Patience<'a> {
    fn new(repository: &'a Repository<'a>, name: &'a str) -> Self {
        Self { repository, name, failures: 0 }
    }

    /// Waits for the time of the next attempt, if there is to be one.
    async fn after(&mut self, failure: Failure) -> Result<(), ActionError> {
        let (reason, progress) = match failure {
            Failure::Final(problem) => return Err(problem),
            Failure::Passing { reason, progress } => (reason, progress),
        };
        self.failures = if progress { 1 } else { self.failures + 1 };
        let Self { repository: Repository { client, reference, auth, policy, .. }, name, failures } = self;
        tracing::debug!(name, failures, reason, "attempt failed");
        if *failures >= policy.attempts {
            let message =
                format!("`{name}` of `{reference}` could not be fetched in {failures} attempts: {reason}");
            return Err(remote(message).hint("check the network and the registry"));
        }
        let delay = policy.first_delay.saturating_mul(1 << (*failures - 1).min(16));
        tokio::time::sleep(delay.min(policy.max_delay)).await;
        // A token that has run out may have been the reason.
        if let Err(error) = client.auth(reference, auth, RegistryOperation::Pull).await {
            tracing::debug!(%error, "no new token");
        }
        Ok(())
    }
}

/// What is told how many more bytes have come; fewer after a transfer began anew.
pub(super) type OnBytes<'a> = &'a (dyn Fn(i64) + Sync);

impl<'a> Repository<'a> {
    /// The repository of an image.
    pub(super) fn new(
        config: &'a ArchiveConfig,
        image: &str,
        platform: Platform,
        cache: &'a Cache,
        run: &'a Run,
    ) -> Result<Self, ActionError> {
        let reference = registry::reference(image)?;
        let client = registry::client(config, &reference, platform);
        let auth = registry::auth(config, reference.registry());
        Ok(Self { client, reference, auth, policy: &config.retry, platform, cache, run })
    }

    /// Fetches the manifest or index `sha256:…`, unless the cache has it; returns its digest with its size.
    pub(super) async fn manifest(&self, name: &str) -> Result<Digest, ActionError> {
        let memo = Hash::of(name.as_bytes());
        let size = self.cache.memo_get(SIZE_MEMO, &memo)?;
        if let Some(size) = size.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()) {
            let digest = sha256(name, size)?;
            if self.find(&digest)?.is_some() {
                return Ok(digest);
            }
        }
        let reference = self.reference.clone_with_digest(name.to_owned());
        let mut patience = Patience::new(self, name);
        let bytes = loop {
            match self.client.pull_manifest_raw(&reference, &self.auth, &MANIFEST_TYPES).await {
                Ok((bytes, _)) => break bytes,
                Err(error) => patience.after(self.failure(name, error)).await?,
            }
        };
        let digest = sha256(name, bytes.len() as u64)?;
        let mut writer = self.cache.writer(Some(digest))?;
        writer.write_all(&bytes)?;
        let stored = writer.commit().map_err(|error| self.not_as_named(name, error))?;
        self.run.lease(&[Lease::Blob(stored.digest)])?;
        self.cache.memo_put(SIZE_MEMO, &memo, digest.size.to_string().as_bytes())?;
        Ok(digest)
    }

    /// Fetches a blob, unless the cache has it.
    pub(super) async fn blob(&self, digest: &Digest, on_bytes: OnBytes<'_>) -> Result<(), ActionError> {
        if self.find(digest)?.is_some() {
            on_bytes(digest.size.cast_signed());
            return Ok(());
        }
        self.client.store_auth_if_needed(self.reference.resolve_registry(), &self.auth).await;
        let name = format!("sha256:{}", digest.hex());
        let mut patience = Patience::new(self, &name);
        let mut writer = None;
        while let Err(failure) = self.receive(&name, digest, &mut writer, on_bytes).await {
            patience.after(failure).await?;
        }
        let Some(writer) = writer else { return Ok(()) };
        let pending = writer.finish().map_err(|error| self.not_as_named(&name, error))?;
        self.run.lease(&[Lease::Blob(pending.blob().digest)])?;
        // Waits for the disk.
        let committed = tokio::task::spawn_blocking(move || pending.commit()).await;
        committed.map_err(|error| ActionError::from(io::Error::other(error)))??;
        Ok(())
    }

    /// The name under which the cache has a blob, if it does; it then stays for this run.
    pub(super) fn find(&self, digest: &Digest) -> Result<Option<Digest>, ActionError> {
        let look = || self.cache.find_sha256(&digest.bytes, digest.size);
        let Some(found) = look()? else { return Ok(None) };
        self.run.lease(&[Lease::Blob(found)])?;
        Ok(look()?)
    }

    /// The manifest as users write it.
    pub(super) fn reference(&self) -> String {
        self.reference.to_string()
    }

    /// One attempt at what is missing of a blob.
    async fn receive(
        &self,
        name: &str,
        digest: &Digest,
        writer: &mut Option<BlobWriter>,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), Failure> {
        let offset = writer.as_ref().map_or(0, BlobWriter::size);
        if offset > 0 && offset == digest.size {
            return Ok(());
        }
        let (mut stream, resumes) = self.open(name, offset).await?;
        let target = match writer {
            Some(target) if resumes => target,
            _ => {
                on_bytes(-offset.cast_signed());
                let fresh = self.cache.writer(Some(*digest)).map_err(|error| Failure::Final(error.into()))?;
                writer.insert(fresh)
            }
        };
        let mut progress = false;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| match error.get_ref() {
                Some(inner) if inner.is::<DigestError>() => Failure::Final(self.damaged(name)),
                _ => Failure::Passing { reason: innermost(&error), progress },
            })?;
            progress |= !chunk.is_empty();
            target.write_all(&chunk).map_err(|error| {
                let too_long = error.get_ref().is_some_and(|inner| inner.is::<imgbuild_cache::Error>());
                Failure::Final(if too_long { self.damaged(name) } else { error.into() })
            })?;
            on_bytes(chunk.len() as i64);
        }
        match target.size() {
            size if size == digest.size => Ok(()),
            size => {
                let reason = format!("the connection ended after {size} of {} bytes", digest.size);
                Err(Failure::Passing { reason, progress })
            }
        }
    }

    /// Asks for a blob from `offset` on; tells whether that is what comes.
    async fn open(&self, name: &str, offset: u64) -> Result<(SizedStream, bool), Failure> {
        let failure = |error| self.failure(name, error);
        if offset == 0 {
            return Ok((self.client.pull_blob_stream(&self.reference, name).await.map_err(failure)?, false));
        }
        let answer = self.client.pull_blob_stream_partial(&self.reference, name, offset, None).await;
        Ok(match answer.map_err(failure)? {
            BlobResponse::Partial(stream) => (stream, true),
            BlobResponse::Full(stream) => (stream, false),
        })
    }

    fn failure(&self, name: &str, error: OciDistributionError) -> Failure {
        match error {
            OciDistributionError::RequestError(error) => Failure::passing(innermost(&error)),
            OciDistributionError::IoError(error) => Failure::passing(innermost(&error)),
            OciDistributionError::ServerError { code, .. } if code >= 500 || code == 429 || code == 408 => {
                Failure::passing(format!("the registry answered {code}"))
            }
            OciDistributionError::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|error| error.code == OciErrorCode::Toomanyrequests) =>
            {
                Failure::passing("the registry answered that there are too many requests")
            }
            OciDistributionError::DigestError(_) => Failure::Final(self.damaged(name)),
            error if is_missing(&error) => Failure::Final(
                remote(format!("the registry no longer has `{name}` of `{}`", self.reference))
                    .hint("`imgbuild update` looks up what the image's name means now"),
            ),
            error => {
                Failure::Final(registry::problem(&self.reference.to_string(), self.platform, &error).into())
            }
        }
    }

    fn damaged(&self, name: &str) -> ActionError {
        remote(format!(
            "what the registry sent for `{name}` of `{}` is something else: its digest differs",
            self.reference
        ))
        .hint("the blob is damaged in the registry, or something on the way changes it; push the image again")
    }

    /// The error of a blob whose digest was asked for last.
    fn not_as_named(&self, name: &str, error: imgbuild_cache::Error) -> ActionError {
        match error {
            imgbuild_cache::Error::DigestMismatch { .. } => self.damaged(name),
            error => error.into(),
        }
    }
}

/// The digest that a manifest writes as `sha256:…`.
pub(super) fn sha256(name: &str, size: u64) -> Result<Digest, ActionError> {
    let hex = name.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
    hex.and_then(|hex| hex.parse::<Hash>().ok())
        .map(|hash| Digest::sha256(hash.0, size))
        .ok_or_else(|| remote(format!("`{name}` is not a SHA-256 digest; no other kind is supported")))
}

/// An error of the registry.
pub(super) fn remote(message: String) -> ActionError {
    Diagnostic::error(message).class(Class::Remote).into()
}

fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ServerError { code, .. } => matches!(code, 404 | 410),
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(
                error.code,
                OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestUnknown
                    | OciErrorCode::ManifestBlobUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
            )
        }),
        _ => false,
    }
}

/// The innermost cause says what happened; the outer ones only repeat the address.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
