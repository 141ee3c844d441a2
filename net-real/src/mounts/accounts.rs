//! Users and groups of this machine, for exports that name them.

use std::fs;

use mfsha_core::exports::Accounts;

/// `/etc/passwd` and `/etc/group`. Accounts from elsewhere (LDAP and such) are given as numbers.
pub(super) struct System;

impl Accounts for System {
    fn user(&self, name: &str) -> Option<(u32, u32)> {
        let text = fs::read_to_string("/etc/passwd").ok()?;
        let mut fields = line_of(&text, name)?.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    }

    fn group_of(&self, uid: u32) -> Option<u32> {
        let text = fs::read_to_string("/etc/passwd").ok()?;
        let uid = uid.to_string();
        let mut users = text.lines().map(|line| line.split(':').skip(2));
        let mut user = users.find(|fields| fields.clone().next() == Some(&uid))?;
        user.nth(1)?.parse().ok()
    }

    fn group(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string("/etc/group").ok()?;
        line_of(&text, name)?.split(':').nth(2)?.parse().ok()
    }
}

fn line_of<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines()
        .find(|line| line.split(':').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nobody_else_by_that_name() {
        assert_eq!(System.user("root"), Some((0, 0)));
        assert_eq!(System.group("root"), Some(0));
        assert_eq!(System.group_of(0), Some(0));
        assert_eq!(System.user("there is no such user"), None);
        assert_eq!(line_of("ab:x:1\na:x:2\n", "a"), Some("a:x:2"));
    }
}
