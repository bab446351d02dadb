//! The steps that change files and run nothing: each says what is to change, and the session changes it.

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, FileOperation, InputFile, Session, UnitState, UserSpec};
use imgbuild_model::Value;

use crate::Provisioner;

/// The code behind `file`.
pub(crate) struct File;
/// The code behind `user`.
pub(crate) struct User;
/// The code behind `group`.
pub(crate) struct Group;
/// The code behind `symlink`.
pub(crate) struct Symlink;
/// The code behind `mkdir`.
pub(crate) struct MakeDirectory;
/// The code behind `remove`.
pub(crate) struct Remove;
/// The code behind `copy_from`.
pub(crate) struct CopyFrom;
/// The code behind `systemd_unit`.
pub(crate) struct SystemdUnit;
/// The code behind `seal`.
pub(crate) struct Seal;
/// The code behind `power_off`.
pub(crate) struct PowerOff;

fn absolute(context: &ActionContext, attribute: &str) -> Result<String, ActionError> {
    let path = context.text(attribute).unwrap_or_default();
    if path.starts_with('/') || (context.node().logs_in() && path.starts_with("~/")) {
        Ok(path)
    } else {
        Err(ActionError::input(format!(
            "`{attribute}` of `{}` is `{path}`, which is no absolute path",
            context.node().schema.id
        )))
    }
}

fn owner(context: &ActionContext) -> String {
    context.text("owner").unwrap_or_else(|| "root:root".to_owned())
}

fn number(context: &ActionContext, attribute: &str) -> Result<Option<u32>, ActionError> {
    context
        .number(attribute)
        .map(|number| {
            u32::try_from(number)
                .map_err(|_| ActionError::input(format!("`{attribute}` {number} is out of range")))
        })
        .transpose()
}

#[async_trait]
impl Provisioner for File {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let (dest, owner, mode) = (absolute(context, "dest")?, owner(context), context.mode("mode"));
        let mut files = context.files("src")?;
        if let Some(path) = context.text("generated") {
            let path = context.workspace.join(path);
            if !path.exists() {
                let missing =
                    format!("`{}` is not there, and no step before this one has made it", path.display());
                return Err(ActionError::environment(missing));
            }
            files.push(InputFile::at(path)?);
        }
        let content = context.text("content").map(String::into_bytes);
        let mut operations = Vec::new();
        match (content, files.as_slice()) {
            (Some(content), []) => operations.push(FileOperation::Write {
                path: dest,
                content,
                mode: mode.unwrap_or(0o644),
                owner,
            }),
            (None, []) => return Err(ActionError::input("`file` needs `src` or `content`")),
            (Some(_), _) => return Err(ActionError::input("`file` takes `src` or `content`, not both")),
            (None, [single]) if !single.is_directory && !dest.ends_with('/') => {
                operations.push(FileOperation::CopyFile {
                    source: single.path.clone(),
                    path: dest,
                    mode: mode.unwrap_or(if single.executable { 0o755 } else { 0o644 }),
                    owner,
                });
            }
            (None, files) => {
                for file in files {
                    if file.is_directory {
                        let generated = context.text("generated");
                        // As where a folder of the template is put: with its name, unless only what is in it is meant.
                        let path = match generated.filter(|path| !path.ends_with('/')) {
                            Some(_) => format!("{}/{}", dest.trim_end_matches('/'), file.name),
                            None => dest.clone(),
                        };
                        operations.push(FileOperation::CopyTree {
                            source: file.path.clone(),
                            path,
                            mode,
                            owner: owner.clone(),
                        });
                    } else {
                        operations.push(FileOperation::CopyFile {
                            source: file.path.clone(),
                            path: format!("{}/{}", dest.trim_end_matches('/'), file.name),
                            mode: mode.unwrap_or(if file.executable { 0o755 } else { 0o644 }),
                            owner: owner.clone(),
                        });
                    }
                }
            }
        }
        session.apply(operations).await
    }
}

#[async_trait]
impl Provisioner for User {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let create_home = match context.attributes().get("create_home") {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        };
        let user = UserSpec {
            name: context.text("name").unwrap_or_default(),
            uid: number(context, "uid")?,
            group: context.text("group"),
            groups: context.texts("groups"),
            home: context.text("home"),
            create_home,
            shell: context.text("shell"),
            comment: context.text("comment").unwrap_or_default(),
            system: context.flag("system"),
        };
        session.apply(vec![FileOperation::AddUser(user)]).await
    }
}

#[async_trait]
impl Provisioner for Group {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let group = FileOperation::AddGroup {
            name: context.text("name").unwrap_or_default(),
            gid: number(context, "gid")?,
            members: context.texts("members"),
            system: context.flag("system"),
        };
        session.apply(vec![group]).await
    }
}

#[async_trait]
impl Provisioner for Symlink {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let link = FileOperation::Symlink {
            target: context.text("target").unwrap_or_default(),
            path: absolute(context, "path")?,
            owner: owner(context),
        };
        session.apply(vec![link]).await
    }
}

#[async_trait]
impl Provisioner for MakeDirectory {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let folder = FileOperation::MakeDirectory {
            path: absolute(context, "path")?,
            mode: context.mode("mode").unwrap_or(0o755),
            owner: owner(context),
        };
        session.apply(vec![folder]).await
    }
}

#[async_trait]
impl Provisioner for Remove {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let missing_ok = context.flag("missing_ok");
        let mut operations = Vec::new();
        for path in context.texts("paths") {
            if !path.starts_with('/') {
                return Err(ActionError::input(format!("`{path}` is no absolute path")));
            }
            operations.push(FileOperation::Remove { path, missing_ok });
        }
        session.apply(operations).await
    }
}

#[async_trait]
impl Provisioner for CopyFrom {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let copy = FileOperation::CopyFrom {
            from: context.layer("image")?,
            source: absolute(context, "src")?,
            path: absolute(context, "dest")?,
            owner: context.text("owner"),
        };
        session.apply(vec![copy]).await
    }
}

#[async_trait]
impl Provisioner for SystemdUnit {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let content = match (context.files("src")?.first(), context.text("content")) {
            (Some(_), Some(_)) => {
                return Err(ActionError::input("`systemd_unit` takes `src` or `content`, not both"));
            }
            (Some(file), None) => Some(fs_err::read(&file.path)?),
            (None, text) => text.map(String::into_bytes),
        };
        let state = match context.text("state").as_deref() {
            Some("disabled") => UnitState::Disabled,
            Some("masked") => UnitState::Masked,
            _ => UnitState::Enabled,
        };
        let unit = FileOperation::Unit { name: context.text("name").unwrap_or_default(), content, state };
        session.apply(vec![unit]).await
    }
}

#[async_trait]
impl Provisioner for Seal {
    async fn provision(
        &self,
        _context: &ActionContext,
        session: &mut dyn Session,
    ) -> Result<(), ActionError> {
        session.apply(vec![FileOperation::Seal]).await
    }
}

#[async_trait]
impl Provisioner for PowerOff {
    async fn provision(
        &self,
        _context: &ActionContext,
        session: &mut dyn Session,
    ) -> Result<(), ActionError> {
        session.apply(vec![FileOperation::PowerOff]).await
    }
}
