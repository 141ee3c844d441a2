//! Command lines against a played cluster: what is printed, to the letter, and exit codes.

use std::ffi::OsString;

use mfsha_client::testing::{Fake, Habit};
use mfsha_core::id::NodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::native::request::NodeError;
use serde_json::{Value, json};

use super::output::Output;
use super::run;

struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("one JSON value")
    }

    /// What was printed, when all went well.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }
}

async fn admin_with(fake: &Fake, line: &str, env: &[(&str, &str)]) -> Ran {
    let mut arguments = vec![OsString::from("mfsha-admin")];
    arguments.extend(line.split_whitespace().map(OsString::from));
    let env = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let mut output = Output::new(false);
    let code = run(arguments, &env, Some(fake.dial()), &mut output).await;
    Ran {
        code,
        out: String::from_utf8(output.out).unwrap(),
        err: output.err,
    }
}

async fn admin(fake: &Fake, line: &str) -> Ran {
    admin_with(fake, line, &[("MFSHA_NODES", "node-1,node-2,node-3")]).await
}

#[tokio::test]
async fn status_for_people() {
    let fake = Fake::new(3);
    fake.down(3, true);
    let ran = admin(&fake, "status").await;
    assert_eq!(
        ran.done(),
        "\
NODE  ADDRESS      ROLE      TERM  COMMITTED  APPLIED  LAG  REGION  VERSION  UPTIME  TROUBLE
1     node-1:9430  leader    7     1          1        0    eu      0.1.0    1d 2h   no connection to 3
2     node-2:9430  follower  7     1          1        0    eu      0.1.0    1d 2h   no connection to 3
3     node-3:9430  unknown   -     -          -        -    -       -        -       node-3:9430: connection refused
"
    );
    fake.lead(None);
    let ran = admin(&fake, "status").await;
    assert!(ran.done().contains("No node knows a leader"));
}

#[tokio::test]
async fn status_for_programs() {
    let fake = Fake::new(1);
    let ran = admin_with(&fake, "--json status --nodes node-1", &[]).await;
    assert_eq!(
        ran.json(),
        json!({
            "leader": 1,
            "nodes": [{
                "node": 1,
                "address": "node-1:9430",
                "reachable": true,
                "role": "leader",
                "term": 7,
                "leader": 1,
                "committed": 1,
                "applied": 1,
                "lag": 0,
                "region": "eu",
                "version": "0.1.0",
                "uptime_ms": 93_784_000,
                "metadata_version": 0,
                "trouble": null,
            }],
        })
    );
}

#[tokio::test]
async fn one_node_and_its_consensus() {
    let fake = Fake::new(3);
    let text = admin(&fake, "node-status 2").await.done();
    for line in [
        "node              2\n",
        "cluster           000000000000000000000000000000c1\n",
        "role              follower\n",
        "members           voters 1, 2, 3\n",
        "memory            1024 KiB of 1024 MiB\n",
        "PEER  ADDRESS      CONNECTED  TROUBLE\n",
        "1     node-1:9430  yes\n",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let value = admin(&fake, "node-status --json").await.json();
    assert_eq!(value["node"], json!(1), "without a number the leader");
    assert_eq!(value["membership"]["voters"], json!([[1, 2, 3]]));
    assert_eq!(value["memory_bytes_max"], json!(1 << 30));
    let text = admin(&fake, "raft-stats").await.done();
    assert_eq!(
        text,
        "\
NODE  ROLE      TERM  LEADER  LAST  COMMITTED  APPLIED  PURGED  SNAPSHOT  LOG MEMORY
1     leader    7     1       1     1          1        -       -         12 KiB
2     follower  7     1       1     1          1        -       -         12 KiB
3     follower  7     1       1     1          1        -       -         12 KiB

Members as leader 1 sees them: voters 1, 2, 3
MEMBER  HAS  LAG
2       1    0
3       1    0
"
    );
    let value = admin(&fake, "raft-stats --json").await.json();
    assert_eq!(value["nodes"][0]["last_log"]["index"], json!(1));
    let ran = admin(&fake, "node-status 9").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("address of n9 is not known"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn leader_and_members_change() {
    let fake = Fake::new(3);
    let text = admin(&fake, "transfer-leader n2").await.done();
    assert_eq!(text, "node 2 leads\n");
    assert_eq!(fake.leader(), Some(NodeId(2)));
    fake.at(4, "node-4:9430");
    let value = admin(&fake, "add-node 4 --json").await.json();
    assert_eq!(value, json!({ "node": 4, "changed": true }));
    let text = admin(&fake, "add-node 4").await.done();
    assert_eq!(text, "node 4 votes already\n");
    let text = admin(&fake, "remove-node 2").await.done();
    assert!(text.starts_with("node 2 is out; voters are 1, 3, 4; node "));
    admin(&fake, "transfer-leader 1").await.done();
    for node in [3, 4] {
        fake.down(node, true);
    }
    let ran = admin(&fake, "remove-node 3").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no majority"), "{}", ran.err);
    let text = admin(&fake, "remove-node 3 --force").await.done();
    assert_eq!(text, "node 3 is out; voters are 1, 4\n");
    let ran = admin(&fake, "transfer-leader 3").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("n3 is no voter"), "{}", ran.err);
    let value = admin(&fake, "snapshot 1 --json").await.json();
    assert_eq!(value["node"], json!(1));
}

#[tokio::test]
async fn settings_are_shown_and_changed() {
    let fake = Fake::new(3);
    let text = admin(&fake, "config get").await.done();
    assert_eq!(
        text,
        "KEY        VALUE  FROM  LIVE\nLOG_LEVEL  info   file  yes\n"
    );
    assert_eq!(admin(&fake, "config get LOG_LEVEL").await.done(), "info\n");
    let ran = admin(&fake, "config get LOGLEVEL").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("did you mean LOG_LEVEL?"), "{}", ran.err);
    let text = admin(&fake, "config set LOG_LEVEL debug").await.done();
    assert_eq!(
        text,
        "LOG_LEVEL is debug at node 1, 2, 3 until its next start\n"
    );
    assert_eq!(admin(&fake, "config get LOG_LEVEL").await.done(), "debug\n");
    let ran = admin(&fake, "config set NOPE 1 --node 2").await;
    assert_eq!(ran.code, 1);
    fake.down(3, true);
    let ran = admin(&fake, "config set LOG_LEVEL warn --all").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
    assert_eq!(admin(&fake, "config get LOG_LEVEL").await.done(), "debug\n");
    let text = admin(&fake, "reload-config --node 1").await.done();
    assert_eq!(
        text,
        "NODE  CHANGED    NEED A RESTART\n1     LOG_LEVEL  DATA_PATH\n"
    );
}

#[tokio::test]
async fn chunkservers_are_shown_removed_and_maintained() {
    use mfsha_core::chunks::{Address, Space};
    use mfsha_core::id::CsId;
    use mfsha_core::namespace::op::Op;
    use mfsha_core::native::admin::ChunkserverHeard;

    let fake = Fake::new(3);
    let text = admin(&fake, "chunkserver list").await.done();
    assert!(text.contains("None has registered yet."), "{text}");
    for host in [1, 2] {
        let ip = std::net::Ipv4Addr::new(10, 0, 0, host);
        let address = Address { ip, port: 9_422 };
        let csid = CsId(0);
        let registered = fake.apply(Op::RegisterChunkserver { csid, address });
        assert!(registered.result.is_ok());
    }
    let heard = ChunkserverHeard {
        relay: NodeId(3),
        reachable: true,
        version: 0x0003_00EA,
        listed: true,
        leaving: false,
        labels: 0b101,
        space: Space {
            used: 3 << 30,
            total: 1 << 40,
            chunks: 17,
            ..Space::default()
        },
        jobs: 2,
        overloaded: false,
        disk_errors: 1,
    };
    fake.hear(1, Some(heard));
    assert_eq!(
        admin(&fake, "chunkserver list").await.done(),
        "\
ID  ADDRESS        STATE      NODE  LABELS  COPIES  USED      TOTAL     JOBS  TROUBLE
1   10.0.0.1:9422  connected  3     AC      17      3072 MiB  1024 GiB  2     disk errors: 1
2   10.0.0.2:9422  gone       -     -       -       -         -         -
"
    );
    let value = admin(&fake, "chunkserver list --json").await.json();
    let (one, two) = (&value["chunkservers"][0], &value["chunkservers"][1]);
    assert_eq!(one["version"], json!("3.0.117"));
    assert_eq!(one["used_bytes"], json!(3_u64 << 30));
    assert_eq!(
        (&one["state"], &two["state"]),
        (&json!("connected"), &json!("gone"))
    );
    assert_eq!(
        (&two["node"], &two["maintenance"]),
        (&Value::Null, &json!(false))
    );

    let ran = admin(&fake, "chunkserver forget 1").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("connected to node 3: stop it first"),
        "{}",
        ran.err
    );
    let ran = admin(&fake, "chunkserver forget 3").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("there is no chunkserver 3"), "{}", ran.err);

    let text = admin(&fake, "chunkserver maintenance 2 on").await.done();
    assert_eq!(
        text,
        "chunkserver 2 is in maintenance until that is ended\n"
    );
    let value = admin(&fake, "chunkserver list --json").await.json();
    assert_eq!(value["chunkservers"][1]["maintenance"], json!(true));
    assert_eq!(value["chunkservers"][1]["maintenance_until"], Value::Null);
    let text = admin(&fake, "chunkserver maintenance 2 on --for 2h").await;
    let text = text.done();
    assert!(
        text.starts_with("chunkserver 2 is in maintenance for "),
        "{text}"
    );
    let text = admin(&fake, "chunkserver list").await.done();
    assert!(
        text.contains("in maintenance for 1h 59m") || text.contains("for 2h 0m"),
        "{text}"
    );
    let text = admin(&fake, "chunkserver maintenance 2 off").await.done();
    assert_eq!(text, "chunkserver 2 is in maintenance no more\n");
    let text = admin(&fake, "chunkserver list").await.done();
    assert!(!text.contains("maintenance"), "{text}");

    let value = admin(&fake, "chunkserver forget 2 --json").await.json();
    assert_eq!(value, json!({ "id": 2 }));
    let value = admin(&fake, "chunkserver list --json").await.json();
    assert_eq!(value["chunkservers"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_tree_from_the_command_line() {
    let fake = Fake::new(3);
    for line in [
        "fs mkdir /dir",
        "fs mkdir -m 700 /dir/deep",
        "fs create /dir/file",
        "fs ln /dir/file /dir/second",
        "fs ln -s dir/file /soft",
        "fs mv /dir/second /dir/deep/moved",
        "fs setattr /dir/file --mode 600 --uid 7 --mtime 12",
        "fs truncate /dir/file 1000",
        "fs xattr set /dir/file user.a value",
    ] {
        admin(&fake, line).await.done();
    }
    assert_eq!(
        admin(&fake, "fs tree").await.done(),
        "/\n  dir/\n    deep/\n      moved\n    file\n  soft\n"
    );
    assert_eq!(
        admin(&fake, "fs tree --depth 1").await.done(),
        "/\n  dir/\n  soft\n"
    );
    let text = admin(&fake, "fs ls /dir").await.done();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("INODE"), "{text}");
    assert!(lines[1].ends_with("deep"), "{text}");
    assert!(
        lines[2].contains("0600  2      7    0    1000") && lines[2].ends_with("file"),
        "{text}"
    );
    let value = admin(&fake, "fs stat /dir/file --json").await.json();
    assert_eq!(value["path"], json!("/dir/file"));
    assert_eq!(value["mode"], json!(0o600));
    assert_eq!(value["kind"], json!("file"));
    assert_eq!(admin(&fake, "fs readlink /soft").await.done(), "dir/file\n");
    assert_eq!(
        admin(&fake, "fs xattr get /soft user.a").await.done(),
        "value\n"
    );
    assert_eq!(admin(&fake, "fs xattr list /soft").await.done(), "user.a\n");
    admin(&fake, "fs xattr rm /soft user.a").await.done();
    let ran = admin(&fake, "fs xattr get /soft user.a").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "mfsha-admin: /soft: no such attribute\n");
    let ran = admin(&fake, "fs rmdir /dir --json").await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.json(),
        json!({ "error": "/dir: directory not empty", "code": 1 })
    );
    admin(&fake, "fs rm /dir/deep/moved").await.done();
    assert_eq!(
        admin(&fake, "fs rmdir /dir/deep").await.done(),
        "/dir/deep is gone\n"
    );
    let value = admin(&fake, "fs statfs --json").await.json();
    assert_eq!(value["inodes"], json!(4));
    // Every command ended its session.
    let leader = NodeId(1);
    let (asked, writes) = (fake.asked(), fake.writes());
    let opened = asked.iter();
    let opened = opened.filter(|(node, body)| *node == leader && is_open(body));
    let closed = writes.iter();
    let closed = closed.filter(|write| write.0 == leader && is_close(&write.2));
    let (opened, closed) = (opened.count(), closed.count());
    assert!(opened > 10, "{opened}");
    assert_eq!(opened, closed);
}

fn is_open(body: &mfsha_core::native::request::RequestBody) -> bool {
    use mfsha_core::namespace::op::Op;
    use mfsha_core::native::request::RequestBody;
    matches!(
        body,
        RequestBody::Write {
            op: Op::OpenSession { .. },
            ..
        }
    )
}

fn is_close(op: &mfsha_core::namespace::op::Op) -> bool {
    matches!(op, mfsha_core::namespace::op::Op::CloseSession { .. })
}

#[tokio::test]
async fn exit_codes_tell_what_happened() {
    let fake = Fake::new(3);
    let ran = admin(&fake, "fs stat /nothing").await;
    assert_eq!(ran.code, 1);
    // Somebody heard it, and then nobody answers any more.
    for node in 1..=3 {
        fake.always(node, Some(Habit::Say(NodeError::Unknown)));
    }
    fake.next(1, [Habit::DoAndHang]);
    let ran = admin(&fake, "snapshot 1 --timeout 2s").await;
    assert_eq!(ran.code, 2, "{}", ran.err);
    for node in 1..=3 {
        fake.always(node, None);
        fake.down(node, true);
    }
    let ran = admin(&fake, "status --timeout 300ms").await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.err.contains("--nodes"), "{}", ran.err);
    for line in [
        "",
        "stauts",
        "status --timeout never",
        "status --nodes :1",
        "add-node",
        "add-node zero",
        "fs mkdir /a -m 999",
        "fs tree --depth 0",
        "config set A",
        "config set A 1 --node 1 --all",
        "chunkserver",
        "chunkserver forget 0",
        "chunkserver forget 65536",
        "chunkserver maintenance 1",
        "chunkserver maintenance 1 maybe",
        "status --tls-cert a.pem",
    ] {
        let ran = admin(&fake, line).await;
        assert_eq!(ran.code, 64, "{line:?}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{line:?}");
        assert_eq!(ran.out, "", "{line:?}");
    }
}

#[tokio::test]
async fn an_unknown_write_is_told_and_barred_by_the_end_of_its_session() {
    let fake = Fake::new(3);
    // The change is kept by a leader that answers everything else.
    fake.on_change(1, Habit::Postpone);
    let ran = admin(&fake, "fs mkdir /a --timeout 1s").await;
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("may or may not"), "{}", ran.err);
    assert!(ran.err.contains("never will"), "{}", ran.err);
    let late = fake.carry_out_postponed();
    assert!(!late.is_empty());
    for late in late {
        assert_eq!(late.result, Err(FsError::BadSession));
    }
}

#[tokio::test]
async fn token_and_environment() {
    let fake = Fake::new(1);
    fake.token("secret");
    let ran = admin_with(&fake, "status --nodes node-1", &[]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("MFSHA_AUTH_TOKEN"), "{}", ran.err);
    let env = [("MFSHA_AUTH_TOKEN", "secret"), ("MFSHA_NODES", "node-1")];
    admin_with(&fake, "status", &env).await.done();
    admin_with(&fake, "status --nodes node-1 --token secret", &[])
        .await
        .done();
    let env = [("MFSHA_TLS_KEY", "key.pem")];
    let ran = admin_with(&fake, "status --nodes node-1", &env).await;
    assert_eq!(ran.code, 64);
}

#[tokio::test]
async fn help_completions_and_manual_need_no_cluster() {
    let fake = Fake::new(1);
    fake.down(1, true);
    for (line, part) in [
        ("--help", "Exit codes:"),
        ("--version", "mfsha-admin 0.1.0"),
        ("fs --help", "Make an empty file"),
        ("completions bash", "complete -F"),
        ("man", ".TH mfsha-admin"),
    ] {
        let text = admin(&fake, line).await.done();
        assert!(text.contains(part), "{line}: {text}");
    }
}
