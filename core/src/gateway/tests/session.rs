//! What is told of sessions and to them; and that every request comes to its reply.

use super::*;

#[test]
fn a_session_hears_what_others_changed() {
    let rig = Rig::new();
    let mut client = rig.client.clone();
    let changed = Notice::ChunkChanged {
        inode: InodeId(7),
        index: 1,
        chunk: ChunkId(2),
        version: 3,
        length: 4,
        truncated: true,
    };
    let length = Notice::LengthChanged {
        inode: InodeId(7),
        length: 4,
    };
    let unused = Notice::ChunkUnused {
        chunk: ChunkId(2),
        version: 3,
    };
    assert!(matches!(
        client.hears(&changed),
        Some(ToClient::ChunkChanged(told)) if told.truncated == 1 && told.inode == InodeId(7)
    ));
    assert!(matches!(
        client.hears(&length),
        Some(ToClient::LengthChanged(told)) if told.length == 4
    ));
    assert_eq!(client.hears(&unused), None);
    client.version = Version::new(3, 0, 73);
    assert_eq!(client.hears(&changed), None);
}

#[test]
fn a_session_is_told_its_values() {
    let params = SessionParams {
        disables: 5,
        umask: 0o27,
        ..SessionParams::unrestricted()
    };
    let mut client = Client {
        session: SessionId(4),
        params,
        version: Version::OURS,
        tool: false,
    };
    let values = client.values(7);
    assert_eq!((values.flags, values.disables, values.umask), (8, 5, 0o27));
    assert_eq!((values.map_all_uid, values.goal_max), (999, 9));
    client.params.flags.read_only = true;
    client.params.flags.map_all = true;
    client.params.flags.dynamic_ip = true;
    client.params.flags.ignore_gid = true;
    assert_eq!(client.meta_values(7).flags, 0x1F);
}

#[test]
fn lists_that_no_command_has_room_for_are_left_or_cut() {
    let rig = Rig::new();
    let files = vec![InodeId(7); crate::gateway::session::OPEN_FILES_MAX + 1];
    assert!(rig.client.open_files(&files[1..]).is_some());
    assert_eq!(rig.client.open_files(&files), None);
    let kept = Times {
        inode: InodeId(7),
        atime: WallTime(u32::MAX),
        mtime: WallTime(u32::MAX),
    };
    let times = vec![kept; crate::gateway::session::TIMES_MAX + 1];
    let lengths: Vec<usize> = rig
        .client
        .times(&times)
        .map(|op| match op {
            Op::SetTimes { times, .. } => times.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [crate::gateway::session::TIMES_MAX, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a client asks for: it gets a reply to that, or needs chunkservers, or waits.
    #[test]
    fn every_request_has_its_reply(
        bytes in proptest::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..300),
        old in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        let dir = rig.dir(ROOT, b"dir");
        let file = rig.file(dir, b"file");
        let op = rig.client.open_files(&[InodeId(file)]).unwrap();
        rig.apply(op);
        if old {
            rig.client.version = OLDEST_CLIENT;
        }
        for number in Call::NUMBERS {
            let call = Call::sample(*number, &mut Draw::new(&bytes));
            let id = MsgId(rig::ID);
            let said = FromClient::Call { id, call: call.clone() };
            let reply = match rig.drive(call.clone()) {
                Step::Tell { reply, .. } => reply,
                Step::Chunk(_) | Step::Wait(_) => continue,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(reply.number(), said.number() + 1);
            let form = call.form(rig.client.version);
            // An old client is told less than there is, and hears exactly that.
            let told = ToClient::Reply { id, reply }.encode(form);
            let kind = number + 1;
            let payload = told[8..].to_vec();
            let heard = ToClient::parse(&Packet { kind, payload }, form);
            prop_assert!(heard.is_ok(), "{:?}", heard);
            prop_assert_eq!(heard.unwrap().encode(form), told);
        }
    }
}
