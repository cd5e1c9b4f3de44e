//! Users and groups by their files: those of the package are local, and a directory service that hangs holds nobody up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Larger than any sane list.
const MAX: u64 = 8 << 20;

/// Who there is on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, (u32, Vec<String>)>,
}

impl Accounts {
    /// Reads `passwd` and `group` of a folder such as `/etc`.
    pub fn read(etc: &Path) -> Self {
        let text = |name: &str| {
            let path = etc.join(name);
            let small = fs::metadata(&path).is_ok_and(|found| found.len() <= MAX);
            let bytes = small.then(|| fs::read(path).ok()).flatten();
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        Self::parse(&text("passwd"), &text("group"))
    }

    /// Reads their lines.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let user = |line: &str| {
            let mut words = line.split(':');
            let name = words.next()?.to_owned();
            Some((name, words.nth(1)?.parse().ok()?))
        };
        let group_row = |line: &str| {
            let words: Vec<&str> = line.split(':').collect();
            let members = words.get(3).unwrap_or(&"").split(',').map(str::trim);
            let members = members.filter(|name| !name.is_empty()).map(str::to_owned);
            let id = words.get(2)?.parse().ok()?;
            Some((words.first()?.to_string(), (id, members.collect())))
        };
        Self {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(group_row).collect(),
        }
    }

    /// The number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<&str> {
        let found = self.users.iter().find(|(_, known)| **known == uid);
        found.map(|(name, _)| name.as_str())
    }

    /// The users whose names begin like this.
    pub fn names(&self, head: &str) -> impl Iterator<Item = &str> {
        let names = self.users.keys().map(String::as_str);
        names.filter(move |name| name.starts_with(head))
    }

    /// The number of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.groups.get(name).map(|(gid, _)| *gid)
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<&str> {
        let found = self.groups.iter().find(|(_, (known, _))| *known == gid);
        found.map(|(name, _)| name.as_str())
    }

    /// Who is in a group by its list.
    pub fn members(&self, group: &str) -> &[String] {
        self.groups.get(group).map_or(&[], |(_, members)| members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_another_encoding_hides_nobody_and_a_missing_list_is_an_empty_one() {
        let etc = tempfile::tempdir().unwrap();
        let latin = b"jos\xe9:x:7:7:Jos\xe9::\nann:x:8:8:::\n";
        fs::write(etc.path().join("passwd"), latin).unwrap();
        let accounts = Accounts::read(etc.path());
        assert_eq!((accounts.user(8), accounts.gid("ann")), (Some("ann"), None));
        assert_eq!(accounts.names("").count(), 2);
    }

    #[test]
    fn lists_are_read_in_both_directions() {
        let accounts = Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\nclawdbot-policy:x:991:989::/nonexistent:/usr/sbin/nologin\nodd\n",
            "root:x:0:\ndocker:x:104:ann, clawdbot-executor\nclawdbot-policy:x:989:\nodd:x\n",
        );
        assert_eq!(accounts.uid("clawdbot-policy"), Some(991));
        assert_eq!(accounts.user(991), Some("clawdbot-policy"));
        assert_eq!((accounts.uid("odd"), accounts.user(5)), (None, None));
        assert_eq!(accounts.gid("clawdbot-policy"), Some(989));
        assert_eq!(accounts.group(104), Some("docker"));
        assert_eq!(accounts.members("docker"), ["ann", "clawdbot-executor"]);
        assert!(accounts.members("nobody").is_empty());
    }
}
