//! Every way in which a file can be wrong, and what is said about it.

use super::super::*;
use super::{Machine, bad};

#[test]
fn every_fault_names_its_place_and_what_to_do() {
    let long = format!("* / umask=0022{}", ",rw".repeat(4_000));
    let cases = [
        ("", "there is no export: nobody could mount anything"),
        (
            "# nothing\n",
            "there is no export: nobody could mount anything",
        ),
        (
            "DEFAULTS rw",
            "there is no export: nobody could mount anything",
        ),
        (
            "*",
            "line 1, character 1: \"*\" stands alone: a line is ADDRESSES PATH OPTIONS, or \
             DEFAULTS OPTIONS",
        ),
        (
            "\n  defaults  \n",
            "line 2, character 3: \"defaults\" stands alone: a line is ADDRESSES PATH OPTIONS, or \
             DEFAULTS OPTIONS",
        ),
        (
            "10.0.0 /",
            "line 1, character 1: \"10.0.0\" is no address: write *, 10.0.0.1, 10.0.0.0/24, \
             10.0.0.0/255.255.255.0 or 10.0.0.1-10.0.0.9",
        ),
        (
            "10.0.0.1,10.0.0.2 /",
            "line 1, character 1: \"10.0.0.1,10.0.0.2\" is a list: give each of its addresses a \
             line of its own",
        ),
        (
            "10.0.0.2-10.0.0.1 /",
            "line 1, character 1: \"10.0.0.2-10.0.0.1\" begins behind its end",
        ),
        (
            "* rw,alldirs",
            "line 1, character 3: \"rw,alldirs\" is no path: it begins with /, or is . for the \
             meta file system; the options come behind the path",
        ),
        (
            "* a/b rw",
            "line 1, character 3: \"a/b\" is no path: it begins with /, or is . for the meta file \
             system",
        ),
        (
            "* / rw,aldirs",
            "line 1, character 8: there is no option \"aldirs\"; is alldirs meant?",
        ),
        (
            "* /\u{e4} zzzz",
            "line 1, character 6: there is no option \"zzzz\"",
        ),
        (
            "* / rw # all",
            "line 1, character 5: a comment has a line of its own",
        ),
        (
            "* / #rw",
            "line 1, character 5: a comment has a line of its own",
        ),
        (
            "* / rw,,ro",
            "line 1, character 8: there is nothing between two commas, or behind the last",
        ),
        (
            "* / rw,",
            "line 1, character 8: there is nothing between two commas, or behind the last",
        ),
        ("* / rw=1", "line 1, character 5: rw takes no value"),
        (
            "* / umask",
            "line 1, character 5: umask needs a value: umask=0022",
        ),
        (
            "* / umask=",
            "line 1, character 5: umask needs a value: umask=0022",
        ),
        (
            "* / password=",
            "line 1, character 5: password needs a value: password=SECRET",
        ),
        (
            "* / umask=022",
            "line 1, character 5: umask=022 is wrong: it is 0 and three octal digits",
        ),
        (
            "* / umask=0028",
            "line 1, character 5: umask=0028 is wrong: it is 0 and three octal digits",
        ),
        (
            "* / umask=00222",
            "line 1, character 5: umask=00222 is wrong: it is 0 and three octal digits",
        ),
        (
            "* / mingoal=0",
            "line 1, character 5: mingoal=0 is wrong: it is one digit from 1 to 9",
        ),
        (
            "* / maxgoal=10",
            "line 1, character 5: maxgoal=10 is wrong: it is one digit from 1 to 9",
        ),
        (
            "* / md5pass=00",
            "line 1, character 5: md5pass is wrong: it has 32 hexadecimal digits",
        ),
        (
            "* / minversion=3.256",
            "line 1, character 5: minversion=3.256 is wrong: it is X, X.Y or X.Y.Z, each from 0 \
             to 255",
        ),
        (
            "* / minversion=3.0.1.2",
            "line 1, character 5: minversion=3.0.1.2 is wrong: it is X, X.Y or X.Y.Z, each from 0 \
             to 255",
        ),
        (
            "* / minversion=3.",
            "line 1, character 5: minversion=3. is wrong: it is X, X.Y or X.Y.Z, each from 0 to \
             255",
        ),
        (
            "* / disable=read:wriet",
            "line 1, character 5: there is no operation \"wriet\" to disable; is write meant?",
        ),
        (
            "* / disable=read:",
            "line 1, character 5: there is no operation \"\" to disable",
        ),
        (
            "* / maproot=bob",
            "line 1, character 5: maproot: there is no user \"bob\" on this machine; give numbers, \
             USER:GROUP",
        ),
        (
            "* / mapall=0:bobs",
            "line 1, character 5: mapall: there is no group \"bobs\" on this machine; give \
             numbers, USER:GROUP",
        ),
        (
            "* / maproot=4294967296:0",
            "line 1, character 5: maproot: there is no user \"4294967296\" on this machine; give \
             numbers, USER:GROUP",
        ),
        (
            "* / maproot=12",
            "line 1, character 5: maproot=12: the group of this user is not known on this machine; \
             write maproot=12:GROUP",
        ),
        (
            "* / mingoal=4,maxgoal=3",
            "line 1, character 5: mingoal is above maxgoal in this line",
        ),
        (
            "* / mintrashtime=2h,maxtrashtime=1h",
            "line 1, character 5: mintrashtime is above maxtrashtime in this line",
        ),
        (
            &long,
            "line 1, character 1: the line is longer than 9998 bytes, which MooseFS does not read \
             either",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(bad(text), [expected], "{text}");
    }
}

#[test]
fn times_that_mean_nothing_are_refused() {
    for time in [
        "x",
        "1x",
        "4294967296",
        "7102w",
        "1h2",
        "1h1h",
        "1h1w",
        "h",
        "-1",
        "1.5h",
        "1 h",
    ] {
        let faults = bad(&format!("* / mintrashtime={time},maxgoal=9"));
        let wanted = "it is a number of seconds below 2^32, or parts like 1w2d3h4m5s, the longest \
                      first";
        let expected = format!("line 1, character 5: mintrashtime={time} is wrong: {wanted}");
        assert_eq!(faults, [expected], "{time}");
    }
}

#[test]
fn addresses_that_mean_nothing_are_refused() {
    for word in [
        "",
        "10",
        "10.0.0.256",
        "10.0.0.0.0",
        "10.0.0.",
        ".1.2.3",
        "a.b.c.d",
        "10.0.0.1/33",
        "10.0.0.1/",
        "10.0.0.1/255.255",
        "10.0.0.1-",
        "-10.0.0.1",
        "10.0.0.1/24-10.0.0.2",
        "::1",
        "**",
        "+1.0.0.0",
        "10.0.0.1/-1",
    ] {
        assert!(super::super::address::parse(word).is_err(), "{word}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_up_to_a_limit() {
    let faults = bad("* / rv,umaks=1\n* . rw\nx /\n* / disable=a:b\n");
    let places: Vec<&str> = faults.iter().map(|fault| &fault[..20]).collect();
    assert_eq!(
        places,
        [
            "line 1, character 5:",
            "line 1, character 8:",
            "line 3, character 1:",
            "line 4, character 5:",
            "line 4, character 5:",
        ]
    );
    let many = "x /\n".repeat(1_000);
    let faults = bad(&many);
    assert_eq!(faults.len(), FAULT_COUNT_MAX + 1);
    let last = faults.last().expect("one");
    assert_eq!(
        last,
        "line 51, character 1: there is more wrong; mend this first"
    );
}

#[test]
fn a_secret_is_not_repeated() {
    for text in [
        "* / pasword=s3cret",
        "* / password=s3cret,x",
        "* / md5pass=s3cret",
        "* / rw=s3cret",
    ] {
        let error = Exports::parse(text.as_bytes(), &Machine).expect_err(text);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{text}");
    }
    let record = super::good("* / password=s3cret").records()[0].clone();
    assert!(format!("{record:?}").contains("PasswordDigest(..)"));
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let text = "#".repeat(FILE_BYTES_MAX + 1);
    assert_eq!(bad(&text), ["the file is longer than 1 MiB"]);
}

#[test]
fn bytes_that_are_no_text_are_errors_but_for_paths_and_passwords() {
    let parse = |bytes: &[u8]| Exports::parse(bytes, &Machine);
    let path = parse(b"* /\xFF\xFE").expect("a path is bytes").0;
    let tree = ExportPath::Tree(b"\xFF\xFE".to_vec());
    assert_eq!(path.records()[0].path, tree);
    let password = parse(b"* / password=\xFF").expect("so is a password").0;
    let digest = password::PasswordDigest::of(b"\xFF");
    assert_eq!(password.records()[0].password, Some(digest));
    for bytes in [&b"\xFF /"[..], b"* / \xFF", b"* / umask=\xFF", b"* / rw\0"] {
        assert!(parse(bytes).is_err(), "{bytes:?}");
    }
}
