//! How a machine is logged in to: as its owner says, or by keys that are made for one boot and told to cloud-init.

use imgbuild_engine::ActionError;
use imgbuild_ssh::{
    Believed, HostKey as SshHostKey, HostKeys, Key, KeySource, Settings, Surroundings, settings_of,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::attributes::Source;
use crate::seed::{HostKey, Seed, SeedUser};

/// What cloud-init would otherwise do to a machine besides: make locales for a minute, tell its keys.
static QUIET: [(&str, serde_json::Value); 2] =
    [("locale", serde_json::Value::Bool(false)), ("no_ssh_fingerprints", serde_json::Value::Bool(true))];

/// How a machine is logged in to.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    user: String,
    made: Option<Made>,
    /// A machine whose key is not known is held to the one that it shows first.
    believed: Believed,
}

/// Keys that were made for a boot.
#[derive(Clone, Debug)]
struct Made {
    instance: String,
    login: HostKey,
    host: HostKey,
}

/// The same as it is kept beside a machine's memory, in a file of the user's alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    instance: String,
    login: [u8; 32],
    host: [u8; 32],
}

impl Access {
    /// To a machine that is to be started.
    ///
    /// # Errors
    /// If there is nobody to log in as, or no randomness.
    pub(crate) fn new(source: Source<'_>) -> Result<Self, ActionError> {
        let made = match source.has_seed() {
            false => None,
            true => Some(Made {
                instance: format!("imgbuild-{}", Uuid::new_v4().simple()),
                login: HostKey::generate().map_err(super::disks::failed)?,
                host: HostKey::generate().map_err(super::disks::failed)?,
            }),
        };
        Self::with(source, made)
    }

    /// To a machine that goes on from memory.
    ///
    /// # Errors
    /// As [`Access::new`].
    pub(crate) fn again(source: Source<'_>, kept: Option<&Kept>) -> Result<Self, ActionError> {
        let made = kept.map(|kept| Made {
            instance: kept.instance.clone(),
            login: HostKey::from_seed(kept.login),
            host: HostKey::from_seed(kept.host),
        });
        Self::with(source, made)
    }

    fn with(source: Source<'_>, made: Option<Made>) -> Result<Self, ActionError> {
        let user = match source.text("ssh_username") {
            Some(user) => user.to_owned(),
            None if made.is_some() => "root".to_owned(),
            None => {
                return Err(ActionError::input("nobody is named to log in as")
                    .hint("say `ssh_username`, and a password, a key file or `seed = \"nocloud\"`"));
            }
        };
        Ok(Self { user, made, believed: Believed::default() })
    }

    /// Whether a source says how its machine is logged in to.
    pub(crate) fn is_given(source: Source<'_>) -> bool {
        source.has_seed() || source.text("ssh_username").is_some()
    }

    /// What is kept beside memory.
    pub(crate) fn kept(&self) -> Option<Kept> {
        let made = self.made.as_ref()?;
        Some(Kept { instance: made.instance.clone(), login: made.login.seed(), host: made.host.seed() })
    }

    /// What cloud-init is told.
    pub(crate) fn seed(&self, hostname: &str) -> Option<Seed> {
        let made = self.made.as_ref()?;
        Some(Seed {
            instance: made.instance.clone(),
            hostname: hostname.to_owned(),
            user: Some(SeedUser {
                name: self.user.clone(),
                keys: vec![made.login.public().to_owned()],
                password: None,
            }),
            host_key: Some(made.host.clone()),
            network: None,
            more: QUIET.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        })
    }

    /// Whether the machine was given keys, which are taken away before its disks are kept.
    pub(crate) fn is_made(&self) -> bool {
        self.made.is_some()
    }

    /// The key by which the machine lets in who has it.
    pub(crate) fn public_key(&self) -> Option<&str> {
        self.made.as_ref().map(|made| made.login.public())
    }

    /// How it is reached at a port of the host.
    ///
    /// # Errors
    /// What of the source's attributes cannot be used.
    pub(crate) fn settings(
        &self,
        source: Source<'_>,
        around: &Surroundings,
        port: u16,
    ) -> Result<Settings, ActionError> {
        let host_keys = match &self.made {
            Some(made) => HostKeys::Pinned(vec![made.host.public().parse::<SshHostKey>()?]),
            None => HostKeys::AcceptNew(None, self.believed.clone()),
        };
        let mut settings = settings_of(&source.wanted.source, around, host_keys)?;
        (settings.host, settings.port) = ("127.0.0.1".to_owned(), port);
        settings.login.username.clone_from(&self.user);
        if let Some(made) = &self.made {
            let key = KeySource::Text(made.login.private().clone());
            settings.login.keys = vec![Key { private: key, certificate: None }];
        }
        Ok(settings)
    }
}
