//! The tree's answers, call by call.

use super::*;

fn path(text: &str) -> Path {
    Path::try_from(text.to_owned()).unwrap()
}

/// Carries out lines of `call ... -> answer`, where an answer is `ok`, errors, or fields that must
/// be shown.
fn check(script: &str) {
    let mut state = Namespace.init();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (call, expected) = line.split_once(" -> ").expect("a line has an answer");
        let call = parse(call);
        for answer in expected.split('|') {
            let reply = expected_reply(answer.trim());
            let next = Namespace.step(&state, &call, Some(&reply));
            assert_eq!(next.len(), 1, "{line}: not {answer} in {state:?}");
        }
        let (next, own) = Namespace.apply(&state, &call);
        assert_eq!(
            Namespace.step(&state, &call, Some(&own)),
            vec![next.clone()],
            "{line}: its own answer is {own:?}"
        );
        let is_refused = own.error.is_some();
        assert_eq!(
            is_refused,
            !expected.starts_with(['o', '{']),
            "{line}: {own:?}"
        );
        if is_refused {
            assert_eq!(next, state, "{line}: a refused call changed something");
            let ok = NamespaceReply::default();
            assert_eq!(
                Namespace.step(&state, &call, Some(&ok)),
                [],
                "{line}: also ok"
            );
        }
        // What is observed must not depend on the way there, so keep what the answer taught.
        let reply = expected_reply(expected.split('|').next().unwrap().trim());
        state = Namespace.step(&state, &call, Some(&reply)).remove(0);
        assert_consistent(&state);
    }
}

fn expected_reply(text: &str) -> NamespaceReply {
    match text {
        "ok" => NamespaceReply::default(),
        text if text.starts_with('{') => serde_json::from_str(text).unwrap(),
        errno => NamespaceReply {
            error: Some(serde_json::from_str(&format!("{errno:?}")).unwrap()),
            ..NamespaceReply::default()
        },
    }
}

fn parse(text: &str) -> NamespaceCall {
    use NamespaceCall as C;
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["create", p] => C::Create {
            path: path(p),
            mode: None,
        },
        ["mkdir", p] => C::Mkdir {
            path: path(p),
            mode: Some(0o755),
        },
        ["symlink", p, t] => C::Symlink {
            path: path(p),
            target: t.to_owned(),
        },
        ["link", f, t] => C::Link {
            from: path(f),
            to: path(t),
        },
        ["unlink", p] => C::Unlink { path: path(p) },
        ["rmdir", p] => C::Rmdir { path: path(p) },
        ["rename", f, t] => C::Rename {
            from: path(f),
            to: path(t),
        },
        ["lookup", p] => C::Lookup { path: path(p) },
        ["getattr", p] => C::Getattr { path: path(p) },
        ["chmod", p, m] => C::SetMode {
            path: path(p),
            mode: m.parse().unwrap(),
        },
        ["readdir", p] => C::Readdir { path: path(p) },
        ["readlink", p] => C::Readlink { path: path(p) },
        _ => panic!("what is {text}?"),
    }
}

/// Every name leads to an entry, every entry has a name, and links agree.
fn assert_consistent(state: &NamespaceState) {
    for (at, entry) in state.entries.iter() {
        for (name, ()) in entry.names.iter() {
            assert!(
                state.entry(&at.child(name)).is_some(),
                "{at:?} has a dangling {name}"
            );
        }
        if let Some((parent, name)) = at.split() {
            let parent = state.entry(&parent).expect("no entry without a directory");
            assert!(parent.names.get(name).is_some(), "{at:?} has no name");
        }
        assert_ne!(entry.links.len(), 1, "{at:?} has one link");
        for link in entry.links.iter() {
            assert_eq!(state.entry(link), Some(entry), "{link:?} is not {at:?}");
        }
    }
}

#[test]
fn making_and_removing() {
    check(
        r#"
        create /f -> ok
        create /f -> EEXIST
        mkdir /f -> EEXIST
        mkdir / -> EEXIST
        create /f/x -> ENOTDIR
        create /no/x -> ENOENT
        lookup /no/x -> ENOENT
        lookup /f/x -> ENOTDIR
        rmdir /f -> ENOTDIR
        mkdir /d -> ok
        create /d/x -> ok
        rmdir /d -> ENOTEMPTY
        unlink /d -> EPERM | EISDIR
        rmdir / -> EBUSY
        unlink /d/x -> ok
        unlink /d/x -> ENOENT
        rmdir /d -> ok
        rmdir /d -> ENOENT
        readdir / -> {"names":["f"]}
        "#,
    );
}

#[test]
fn attributes_are_learnt_once_and_held() {
    check(
        r#"
        mkdir /d -> ok
        getattr /d -> {"kind":"directory","mode":493,"links":2}
        create /d/f -> ok
        getattr /d/f -> {"kind":"file","links":1}
        lookup /d/f -> {"inode":7,"mode":420}
        getattr /d/f -> {"inode":7,"mode":420}
        chmod /d/f 384 -> {"mode":384}
        getattr /d/f -> {"mode":384}
        mkdir /d/e -> ok
        getattr /d -> {"links":3}
        rename /d/f /g -> ok
        getattr /g -> {"inode":7,"mode":384}
        chmod /no 1 -> ENOENT
        readdir /g -> ENOTDIR
        "#,
    );
    let call = parse("getattr /d");
    let (state, _) = Namespace.apply(&Namespace.init(), &parse("mkdir /d"));
    let shows = |text: &str| {
        Namespace
            .step(&state, &call, Some(&expected_reply(text)))
            .pop()
    };
    let learnt = shows(r#"{"inode":7}"#).expect("the first number is news");
    let again = |text: &str| Namespace.step(&learnt, &call, Some(&expected_reply(text)));
    assert_eq!(again(r#"{"inode":7}"#), vec![learnt.clone()]);
    assert_eq!(again(r#"{"inode":8}"#), []);
    assert_eq!(shows(r#"{"mode":492}"#), None);
    assert_eq!(shows(r#"{"kind":"file"}"#), None);
    assert_eq!(shows(r#"{"links":3}"#), None);
    assert_eq!(shows(r#"{"error":"ENOENT","inode":7}"#), None);
}

#[test]
fn links_are_one_file() {
    check(
        r#"
        create /a -> ok
        mkdir /d -> ok
        link /a /d/b -> ok
        link /a /d/b -> EEXIST
        link /d /e -> EPERM
        link /d /a -> EPERM | EEXIST
        link /no /e -> ENOENT
        link /a /no/e -> ENOENT
        getattr /d/b -> {"links":2,"inode":5}
        getattr /a -> {"links":2,"inode":5}
        chmod /a 1 -> ok
        getattr /d/b -> {"mode":1}
        rename /a /d/b -> ok
        getattr /a -> {"links":2}
        rename /d /e -> ok
        getattr /e/b -> {"links":2,"inode":5}
        link /e/b /e/c -> ok
        getattr /a -> {"links":3}
        unlink /a -> ok
        unlink /e/b -> ok
        getattr /e/c -> {"links":1,"inode":5}
        "#,
    );
}

#[test]
fn symlinks_are_not_followed() {
    check(
        r#"
        mkdir /d -> ok
        symlink /s /d -> ok
        symlink /s /d -> EEXIST
        readlink /s -> {"target":"/d"}
        readlink /d -> EINVAL
        readlink /no -> ENOENT
        lookup /s/x -> ENOTDIR
        lookup /s -> {"kind":"symlink"}
        link /s /t -> ok
        readlink /t -> {"target":"/d"}
        unlink /s -> ok
        "#,
    );
}

#[test]
fn every_way_to_rename() {
    check(
        r#"
        mkdir /a -> ok
        mkdir /a/b -> ok
        create /a/b/f -> ok
        create /g -> ok
        rename /no /x -> ENOENT
        rename /a /no/x -> ENOENT
        rename /no /g/x -> ENOTDIR | ENOENT
        rename /a /a -> ok
        rename /a /a/b/c -> EINVAL
        rename /a/b /a -> ENOTEMPTY
        rename /a/b/f /a -> ENOTEMPTY
        rename / /x -> EBUSY
        rename /a / -> EBUSY
        rename /a /g -> ENOTDIR
        rename /g /a -> EISDIR | ENOTEMPTY
        mkdir /e -> ok
        rename /g /e -> EISDIR
        mkdir /h -> ok
        create /h/x -> ok
        rename /e /h -> ENOTEMPTY
        rename /a /e -> ok
        readdir / -> {"names":["h","e","g"]}
        readdir /e/b -> {"names":["f"]}
        lookup /a -> ENOENT
        rename /g /e/b/f -> ok
        readdir /e/b -> {"names":["f"]}
        rename /e/b/f /e/g -> ok
        readdir /e -> {"names":["g","b"]}
        "#,
    );
}

#[test]
fn a_listing_is_exact() {
    let (state, _) = Namespace.apply(&Namespace.init(), &parse("create /f"));
    let lists = |text: &str| {
        let reply = expected_reply(text);
        !Namespace
            .step(&state, &parse("readdir /"), Some(&reply))
            .is_empty()
    };
    assert!(lists(r#"{"names":["f"]}"#));
    assert!(!lists(r#"{"names":[]}"#));
    assert!(!lists(r#"{"names":["f","f"]}"#));
    assert!(!lists(r#"{"names":["f","g"]}"#));
}

#[test]
fn a_state_does_not_remember_the_way_to_it() {
    let run = |calls: &[&str]| {
        calls.iter().fold(Namespace.init(), |state, call| {
            Namespace.apply(&state, &parse(call)).0
        })
    };
    assert_eq!(
        run(&["create /a", "create /b", "link /a /c", "unlink /b"]),
        run(&[
            "create /c",
            "mkdir /d",
            "link /c /d/a",
            "rename /d/a /a",
            "rmdir /d"
        ])
    );
    assert_ne!(
        run(&["create /a", "link /a /b"]),
        run(&["create /a", "create /b"])
    );
}

#[test]
fn wrong_paths_are_refused() {
    for text in ["", "a", "/a/", "//a", "/a//b", "/.", "/a/../b", "/a\0"] {
        assert!(Path::try_from(text.to_owned()).is_err(), "{text:?}");
    }
    assert!(Path::try_from(format!("/{}", "x".repeat(255))).is_ok());
    assert!(Path::try_from(format!("/{}", "x".repeat(256))).is_err());
    assert!(Path::try_from("/x".repeat(2_049)).is_err());
}

#[test]
fn parts_are_top_level_names() {
    let part = |text: &str| Namespace.touches(&parse(text));
    let names = |names: &[&str]| Touches::Parts(names.iter().map(|&n| n.to_owned()).collect());
    assert_eq!(part("lookup /a/b/c"), names(&["a"]));
    assert_eq!(part("mkdir /a"), names(&["a"]));
    assert_eq!(part("rename /b/x /a/x"), names(&["a", "b"]));
    assert_eq!(part("link /a/x /a/y"), names(&["a"]));
    assert_eq!(part("readdir /"), Touches::Everything);
    assert_eq!(part("rename /a /"), Touches::Everything);
}
