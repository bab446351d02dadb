//! What a template of a machine may name, in `boot_command`, `boot_steps` and `qemuargs` (Packer: `{{ .HTTPIP }}` and its like).

use imgbuild_engine::ActionError;
use imgbuild_gotemplate::{Functions, MissingKey, Options, Template, Value};

use super::attributes::Source;
use crate::http::GUEST_ADDRESS;

/// What is known of a machine that is to be started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    /// The port of the host at which files are served; 0 if none are.
    pub(crate) http_port: u16,
    /// The key by which the machine is to let us in.
    pub(crate) public_key: String,
}

impl Words {
    /// Those of a machine that goes on: nothing is served to it, and the key is the one that is given. One that is made for a boot would
    /// make each time another machine.
    ///
    /// # Errors
    /// If the key that is given is none.
    pub(crate) fn of_each_boot(source: Source<'_>) -> Result<Self, ActionError> {
        Ok(Self { http_port: 0, public_key: Self::given_key(source)? })
    }

    /// The public half of the key that is given; empty if none is.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn given_key(source: Source<'_>) -> Result<String, ActionError> {
        let file = source.files("authorized_key").into_iter().next();
        file.map_or_else(|| Ok(String::new()), |file| Ok(imgbuild_ssh::public_key(&file)?))
    }

    /// Fills in a template.
    ///
    /// # Errors
    /// If it is none, or names something else.
    pub(crate) fn fill(&self, source: Source<'_>, name: &str, text: &str) -> Result<String, ActionError> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let folder = source.files("http").into_iter().next().unwrap_or_default();
        let data = Value::record([
            ("HTTPIP", GUEST_ADDRESS.to_string()),
            ("HTTPPort", self.http_port.to_string()),
            ("HTTPDir", folder.display().to_string()),
            ("Name", source.text("vm_name").unwrap_or("imgbuild").to_owned()),
            ("SSHPublicKey", self.public_key.clone()),
            // The kernel finds one, and QEMU is asked which.
            ("SSHHostPort", "0".to_owned()),
        ]);
        let options = Options { missing_key: MissingKey::Error, ..Options::default() };
        Template::parse(text, &Functions::new())
            .and_then(|template| template.render(&Functions::new(), &data, &options))
            .map_err(|error| {
                ActionError::input(format!("`{name}` cannot be rendered: {error}")).hint(
                    "it may use `{{ .HTTPIP }}`, `{{ .HTTPPort }}`, `{{ .HTTPDir }}`, `{{ .Name }}`, `{{ .SSHPublicKey }}` and `{{ .SSHHostPort }}`",
                )
            })
    }
}
