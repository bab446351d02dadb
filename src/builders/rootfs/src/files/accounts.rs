//! Users and groups of an image, from its own files: looked up, and added as `useradd` would, but the same each time.

use super::{Attributes, Contents, FilesError, Modes, Root, TreeOptions};

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The home directory; `/` for a number without an account.
    pub home: String,
}

/// A name that the image does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not in `/etc/passwd`.
    #[error("the user `{name}` is not in the image's `/etc/passwd`")]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// Not in `/etc/group`.
    #[error("the group `{name}` is not in the image's `/etc/group`")]
    UnknownGroup {
        /// The name.
        name: String,
    },
}

/// The fields of the lines of a colon-separated file.
fn records(file: &[u8]) -> impl Iterator<Item = Vec<String>> {
    String::from_utf8_lossy(file)
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>()
        .into_iter()
}

fn field(record: &[String], number: usize) -> Option<u32> {
    record.get(number)?.parse().ok()
}

impl Identity {
    /// Looks `user`, `user:group` or either as a number up in the contents of a password and a group file. A named
    /// user without a group gets its own groups; a number without an account is itself, with group 0.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] for a name that is not there.
    pub fn find(specification: &str, passwd: &[u8], group: &[u8]) -> Result<Self, IdentityError> {
        let (user, wanted_group) = match specification.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (specification, None),
        };
        let number = user.parse::<u32>().ok();
        let account = records(passwd).find(|record| match number {
            Some(number) => field(record, 2) == Some(number),
            None => record.first().is_some_and(|name| name == user),
        });
        let uid = match (&account, number) {
            (Some(account), _) => field(account, 2),
            (None, Some(number)) => Some(number),
            // Root is 0 in every image, also in one that has no accounts yet.
            (None, None) => (user == "root").then_some(0),
        };
        let uid = uid.ok_or_else(|| IdentityError::UnknownUser { name: user.to_owned() })?;
        let name = account.as_ref().and_then(|account| account.first()).cloned();
        let own_group = account.as_ref().and_then(|account| field(account, 3)).unwrap_or(0);
        let (gid, groups) = match wanted_group {
            Some(wanted) => (find_group(wanted, group)?, Vec::new()),
            None => (own_group, name.map(|name| memberships(&name, own_group, group)).unwrap_or_default()),
        };
        let home = account
            .as_ref()
            .and_then(|account| account.get(5))
            .filter(|home| home.starts_with('/'))
            .cloned()
            .unwrap_or_else(|| "/".to_owned());
        Ok(Self { uid, gid, groups, home })
    }
}

/// A group's number, from its name or number.
pub(crate) fn find_group(wanted: &str, group: &[u8]) -> Result<u32, IdentityError> {
    wanted
        .parse()
        .ok()
        .or_else(|| {
            records(group)
                .find(|record| record.first().is_some_and(|name| name == wanted))
                .and_then(|record| field(&record, 2))
        })
        .or((wanted == "root").then_some(0))
        .ok_or_else(|| IdentityError::UnknownGroup { name: wanted.to_owned() })
}

fn memberships(user: &str, own: u32, group: &[u8]) -> Vec<u32> {
    let mut groups: Vec<u32> = records(group)
        .filter(|record| record.get(3).is_some_and(|members| members.split(',').any(|member| member == user)))
        .filter_map(|record| field(&record, 2))
        .filter(|gid| *gid != own)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Why an account cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The name is taken.
    #[error("the {kind} `{name}` is in the image already, with the number {number}")]
    Exists {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Its number.
        number: String,
    },
    /// The number is taken.
    #[error("the number {number} belongs to the {kind} `{owner}` in the image; choose another, or none")]
    NumberTaken {
        /// `user` or `group`.
        kind: &'static str,
        /// The number.
        number: u32,
        /// Whose it is.
        owner: String,
    },
    /// Not a name that programs accept.
    #[error(
        "`{name}` is not a name for a {kind}: lower-case letters, digits, `_` and `-`, at most 32, not beginning with a digit or `-`"
    )]
    BadName {
        /// `user` or `group`.
        kind: &'static str,
        /// What was given.
        name: String,
    },
    /// A field that would break the file's format.
    #[error("the {field} of the user `{name}` may not hold `:` or a line end")]
    BadField {
        /// Which field.
        field: &'static str,
        /// The user.
        name: String,
    },
    /// Every number of the range is taken.
    #[error("no number is left for the {kind} `{name}` between {first} and {last}")]
    NoNumberLeft {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The range's first number.
        first: u32,
        /// The range's last number.
        last: u32,
    },
}

/// A group to add.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Its number; the next free one otherwise.
    pub gid: Option<u32>,
    /// Number it among the system's.
    pub system: bool,
}

/// A user to add. The account has no password.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewUser {
    /// Its name.
    pub name: String,
    /// Its number; the next free one otherwise.
    pub uid: Option<u32>,
    /// Number it among the system's.
    pub system: bool,
    /// Its full name.
    pub comment: String,
    /// Its home; `/home/<name>`, or `/nonexistent` for a system user, otherwise.
    pub home: Option<String>,
    /// Make the home, 0700, with the contents of `/etc/skel`.
    pub create_home: bool,
    /// Its shell; `/bin/sh`, or `/usr/sbin/nologin` for a system user, otherwise.
    pub shell: Option<String>,
    /// Its primary group, by name or number; a new one of the user's name and number otherwise.
    pub group: Option<String>,
    /// Further groups, by name; they must exist.
    pub groups: Vec<String>,
}

/// The numbers that Debian gives to the system's accounts, and to people's.
const SYSTEM_NUMBERS: (u32, u32) = (100, 999);
const ORDINARY_NUMBERS: (u32, u32) = (1000, 59_999);

/// Debian's group that may read `/etc/shadow`.
const SHADOW_GROUP: u32 = 42;

/// One of the files of accounts, edited line by line: what is not touched stays as it is.
struct AccountFile {
    path: &'static str,
    lines: Vec<String>,
    attributes: Attributes,
    exists: bool,
}

impl AccountFile {
    fn read(root: &Root, path: &'static str) -> Result<Self, FilesError> {
        let secret = path.ends_with("shadow");
        let missing = Attributes {
            mode: if secret { 0o640 } else { 0o644 },
            uid: 0,
            gid: if secret { SHADOW_GROUP } else { 0 },
        };
        let Some(status) = root.status_if_there(path)? else {
            return Ok(Self { path, lines: Vec::new(), attributes: missing, exists: false });
        };
        let text = String::from_utf8_lossy(&root.read_file(path)?).into_owned();
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { path, lines, attributes: status.attributes, exists: true })
    }

    fn records(&self) -> impl Iterator<Item = Vec<&str>> {
        self.lines.iter().map(|line| line.split(':').collect())
    }

    fn find(&self, name: &str) -> Option<Vec<&str>> {
        self.records().find(|record| record.first() == Some(&name))
    }

    /// The third field of every line.
    fn numbers(&self) -> std::collections::BTreeMap<u32, String> {
        self.records()
            .filter_map(|record| Some((record.get(2)?.parse().ok()?, (*record.first()?).to_owned())))
            .collect()
    }

    /// Adds a line, before those that refer to a network service.
    fn add(&mut self, line: String) {
        let at = self.lines.iter().position(|line| line.starts_with(['+', '-'])).unwrap_or(self.lines.len());
        self.lines.insert(at, line);
    }

    /// Adds a member to the list that ends a group's line.
    fn add_member(&mut self, group: &str, user: &str) {
        for line in &mut self.lines {
            if line.split(':').next() == Some(group) {
                let separator = if line.ends_with(':') { "" } else { "," };
                line.push_str(separator);
                line.push_str(user);
            }
        }
    }

    fn write(&self, root: &Root) -> Result<(), FilesError> {
        let text: String = self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        root.write_file(self.path, Contents::Bytes(text.as_bytes()), self.attributes)
    }
}

fn check_name(kind: &'static str, name: &str) -> Result<(), AccountError> {
    let begins = name.starts_with(|character: char| character.is_ascii_lowercase() || character == '_');
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if begins && name.len() <= 32 && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(AccountError::BadName { kind, name: name.to_owned() })
}

/// A number that none of `taken` has: for the system the highest, for people the one after their highest.
fn free_number(
    kind: &'static str,
    name: &str,
    system: bool,
    taken: &[&std::collections::BTreeMap<u32, String>],
) -> Result<u32, AccountError> {
    let (first, last) = if system { SYSTEM_NUMBERS } else { ORDINARY_NUMBERS };
    let free = |number: &u32| taken.iter().all(|taken| !taken.contains_key(number));
    let found = if system {
        (first..=last).rev().find(free)
    } else {
        let highest = taken
            .iter()
            .filter_map(|taken| taken.range(first..=last).next_back())
            .map(|(number, _)| *number)
            .max();
        let next = highest.map_or(first, |highest| highest + 1);
        (next..=last).find(free).or_else(|| (first..=last).find(free))
    };
    found.ok_or_else(|| AccountError::NoNumberLeft { kind, name: name.to_owned(), first, last })
}

fn check_free(
    kind: &'static str,
    name: &str,
    number: Option<u32>,
    file: &AccountFile,
) -> Result<(), AccountError> {
    if let Some(record) = file.find(name) {
        let number = record.get(2).copied().unwrap_or_default().to_owned();
        return Err(AccountError::Exists { kind, name: name.to_owned(), number });
    }
    match number.and_then(|number| Some((number, file.numbers().remove(&number)?))) {
        Some((number, owner)) => Err(AccountError::NumberTaken { kind, number, owner }),
        None => Ok(()),
    }
}

impl Root {
    /// Adds a group to `/etc/group` and, where there is one, `/etc/gshadow`. Returns its number.
    ///
    /// # Errors
    ///
    /// [`AccountError`], and those of reading and writing.
    pub fn add_group(&self, new: &NewGroup) -> Result<u32, FilesError> {
        check_name("group", &new.name)?;
        let mut group = AccountFile::read(self, "/etc/group")?;
        let mut secrets = AccountFile::read(self, "/etc/gshadow")?;
        check_free("group", &new.name, new.gid, &group)?;
        let gid = match new.gid {
            Some(gid) => gid,
            None => free_number("group", &new.name, new.system, &[&group.numbers()])?,
        };
        group.add(format!("{}:x:{gid}:", new.name));
        group.write(self)?;
        if secrets.exists {
            secrets.add(format!("{}:!::", new.name));
            secrets.write(self)?;
        }
        Ok(gid)
    }

    /// Adds a user to `/etc/passwd` and, where there is one, `/etc/shadow`; its group to the files of groups; its home.
    ///
    /// # Errors
    ///
    /// [`AccountError`], [`IdentityError`] for a group that is not there, and those of reading and writing.
    pub fn add_user(&self, new: &NewUser) -> Result<Identity, FilesError> {
        check_name("user", &new.name)?;
        let mut passwd = AccountFile::read(self, "/etc/passwd")?;
        let mut shadow = AccountFile::read(self, "/etc/shadow")?;
        check_free("user", &new.name, new.uid, &passwd)?;
        let group = AccountFile::read(self, "/etc/group")?;
        let group_text = group.lines.join("\n");
        let mut memberships = Vec::new();
        for name in &new.groups {
            memberships.push(find_group(name, group_text.as_bytes())?);
        }
        let own_group = new.group.as_ref().map(|name| find_group(name, group_text.as_bytes())).transpose()?;
        let (users, groups) = (passwd.numbers(), group.numbers());
        let uid = match (new.uid, own_group) {
            (Some(uid), _) => uid,
            (None, Some(_)) => free_number("user", &new.name, new.system, &[&users])?,
            (None, None) => free_number("user", &new.name, new.system, &[&users, &groups])?,
        };
        let home = new.home.clone().unwrap_or_else(|| match new.system {
            true => "/nonexistent".to_owned(),
            false => format!("/home/{}", new.name),
        });
        let shell = new
            .shell
            .clone()
            .unwrap_or_else(|| if new.system { "/usr/sbin/nologin" } else { "/bin/sh" }.to_owned());
        for (field, value) in [("comment", &new.comment), ("home", &home), ("shell", &shell)] {
            if value.contains([':', '\n', '\r']) {
                return Err(AccountError::BadField { field, name: new.name.clone() }.into());
            }
        }
        let gid = match own_group {
            Some(gid) => gid,
            None => self.add_group(&NewGroup {
                name: new.name.clone(),
                gid: (!groups.contains_key(&uid)).then_some(uid),
                system: new.system,
            })?,
        };
        passwd.add(format!("{}:x:{uid}:{gid}:{}:{home}:{shell}", new.name, new.comment));
        passwd.write(self)?;
        if shadow.exists {
            let day = self.time.div_euclid(24 * 60 * 60);
            let ageing = if new.system { ":::::" } else { "0:99999:7:::" };
            shadow.add(format!("{}:!:{day}:{ageing}", new.name));
            shadow.write(self)?;
        }
        self.join_groups(&new.name, &memberships)?;
        if new.create_home {
            self.create_home(&home, uid, gid)?;
        }
        memberships.retain(|number| *number != gid);
        memberships.sort_unstable();
        memberships.dedup();
        Ok(Identity { uid, gid, groups: memberships, home })
    }

    /// Puts users into a group that is there.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] for a user or group that is not there, and those of reading and writing.
    pub fn add_members(&self, group: &str, members: &[String]) -> Result<(), FilesError> {
        let number = find_group(group, &self.read_file("/etc/group")?)?;
        for member in members {
            self.owner(member)?;
            self.join_groups(member, &[number])?;
        }
        Ok(())
    }

    fn join_groups(&self, user: &str, numbers: &[u32]) -> Result<(), FilesError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut group = AccountFile::read(self, "/etc/group")?;
        let mut secrets = AccountFile::read(self, "/etc/gshadow")?;
        let names = group.numbers();
        for name in numbers.iter().filter_map(|number| names.get(number)) {
            group.add_member(name, user);
            secrets.add_member(name, user);
        }
        group.write(self)?;
        if secrets.exists { secrets.write(self) } else { Ok(()) }
    }

    fn create_home(&self, home: &str, uid: u32, gid: u32) -> Result<(), FilesError> {
        if self.status_if_there(home)?.is_some() {
            return Ok(());
        }
        if self.status_if_there("/etc/skel")?.is_some() {
            let options = TreeOptions { owner: Some((uid, gid)), modes: Modes::Keep, attributes: true };
            self.copy_from(self, "/etc/skel", home, options)?;
        }
        self.make_directory(home, Some(Attributes { mode: 0o700, uid, gid }))
    }
}
