//! Users and groups, of `/etc/passwd`, `/etc/group` and, for whether there is a password, `/etc/shadow`.

use std::collections::BTreeMap;

use crate::report::{Account, Group, Password};
use crate::tree::Contents;

const PASSWD: &[u8] = b"etc/passwd";
const GROUP: &[u8] = b"etc/group";
const SHADOW: &[u8] = b"etc/shadow";

pub(super) fn is_read(path: &[u8]) -> bool {
    [PASSWD, GROUP, SHADOW].contains(&path)
}

pub(super) fn read(contents: &Contents) -> (BTreeMap<String, Account>, BTreeMap<String, Group>) {
    let text = |path: &[u8]| {
        contents.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let (passwd, group, shadow) = (text(PASSWD), text(GROUP), text(SHADOW));
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let of = |fields: &[String], at: usize| fields.get(at).cloned().unwrap_or_default();
    let number = |fields: &[String], at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());

    let mut groups = BTreeMap::new();
    for fields in group.lines().map(fields) {
        let Some(gid) = number(&fields, 2) else { continue };
        let mut members: Vec<String> =
            of(&fields, 3).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        members.sort();
        members.dedup();
        groups.insert(of(&fields, 0), Group { gid, members });
    }
    let passwords: BTreeMap<String, String> =
        shadow.lines().map(fields).map(|fields| (of(&fields, 0), of(&fields, 1))).collect();
    let mut users = BTreeMap::new();
    for fields in passwd.lines().map(fields) {
        let (Some(uid), Some(gid)) = (number(&fields, 2), number(&fields, 3)) else { continue };
        let name = of(&fields, 0);
        let own = of(&fields, 1);
        let secret = if own == "x" { passwords.get(&name).cloned() } else { Some(own) };
        let joined = groups.iter().filter(|(_, group)| group.members.contains(&name));
        users.insert(
            name.clone(),
            Account {
                uid,
                gid,
                home: of(&fields, 5),
                shell: of(&fields, 6),
                groups: joined.map(|(group, _)| group.clone()).collect(),
                password: password(secret.as_deref()),
                secret: secret.map(|secret| imgbuild_digest::Hash::of(secret.as_bytes())),
            },
        );
    }
    (users, groups)
}

/// Whether somebody could log in with it; the secret itself is told to nobody.
fn password(secret: Option<&str>) -> Password {
    match secret {
        None => Password::Unknown,
        Some("") => Password::Empty,
        Some(secret) if secret.starts_with(['!', '*']) => Password::Locked,
        Some(_) => Password::Set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_without_their_secrets() {
        let contents = Contents::from([
            (
                PASSWD.to_vec(),
                b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/false\nold::7:7::/:\nbad line\n"
                    .to_vec(),
            ),
            (GROUP.to_vec(), b"root:x:0:\nsudo:x:27:app,root,app\napp:x:1000:\n".to_vec()),
            (SHADOW.to_vec(), b"root:$6$abc:19000:0:::::\napp:!:19000::::::\n".to_vec()),
        ]);
        let (users, groups) = read(&contents);
        assert_eq!(users.keys().collect::<Vec<_>>(), ["app", "old", "root"]);
        let app = &users["app"];
        assert_eq!((app.uid, &*app.shell, &*app.groups), (1000, "/bin/false", &["sudo".to_owned()][..]));
        let passwords = [&users["root"], app, &users["old"]].map(|user| user.password);
        assert_eq!(passwords, [Password::Set, Password::Locked, Password::Empty]);
        assert_eq!(groups["sudo"].members, ["app", "root"]);
        assert!(!serde_json::to_string(&users).unwrap().contains("abc"));
    }
}
