//! Single files from elsewhere, fetched as packages are: tried again, gone on with where they broke off, through proxies.

use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use imgbuild_debian::fetch::{FetchError, Fetcher, Receiver};
use imgbuild_engine::ActionError;
use imgbuild_model::{Class, Diagnostic, with_causes};
use reqwest::Url;

use crate::resolve::ArchiveConfig;

/// The most that a file may have, in bytes.
const LIMIT: u64 = 1 << 40;

/// A file that is received.
struct Received(fs_err::File);

impl Receiver for Received {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.rewind()?;
        self.0.file().set_len(0)
    }
}

impl ArchiveConfig {
    /// Writes what an address of `http`, `https` or `file` has into a new file.
    ///
    /// # Errors
    /// If it cannot be had, or the file not be written.
    pub async fn fetch_file(&self, url: &str, to: &Path) -> Result<(), ActionError> {
        let address: Url =
            url.parse().map_err(|error| ActionError::input(format!("`{url}` is no address: {error}")))?;
        if !matches!(address.scheme(), "http" | "https" | "file") {
            let what = format!("`{}` is fetched neither by HTTP nor from a file", address.scheme());
            return Err(ActionError::input(what));
        }
        let fetcher = Fetcher::new(self.retry.clone(), &self.proxies).map_err(failed)?;
        let mut file = Received(fs_err::File::create_new(to)?);
        fetcher.get_into(&address, LIMIT, &mut file).await.map_err(failed)?;
        Ok(file.0.sync_all()?)
    }
}

fn failed(error: FetchError) -> ActionError {
    let class = match error {
        FetchError::Setup(_) | FetchError::Store { .. } | FetchError::Unreadable { .. } => Class::Environment,
        FetchError::NotFound { .. } => Class::Input,
        FetchError::Refused { .. } | FetchError::GaveUp { .. } | FetchError::TooLarge { .. } => Class::Remote,
    };
    Diagnostic::error(with_causes(&error)).class(class).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imgbuild_cache::Cache;

    use super::*;

    #[tokio::test]
    async fn a_file_is_fetched_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let events = Arc::new(|_: imgbuild_model::Event| {});
        let config = ArchiveConfig::new(Cache::open(at("cache")).unwrap(), 0, events);
        fs_err::write(at("disk"), b"disk").unwrap();
        let url = format!("file://{}", at("disk").display());
        config.fetch_file(&url, &at("copy")).await.unwrap();
        assert_eq!(fs_err::read(at("copy")).unwrap(), b"disk");
        for (url, expected) in
            [("disk", "is no address"), ("ftp://a/b", "neither by HTTP"), ("file:///none", "none")]
        {
            let error = config.fetch_file(url, &at("other")).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            let _ = fs_err::remove_file(at("other"));
        }
    }
}
