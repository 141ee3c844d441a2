//! Locks that are waited for.

use super::requests::{created, status};
use super::rig::*;
use crate::id::{InodeId, SessionId};
use crate::moosefs::client::Reply;
use crate::moosefs::client::tree::Done;
use crate::moosefs::flags::flock::{INTERRUPT, LOCK_EXCLUSIVE, UNLOCK};
use crate::moosefs::status::Status;
use crate::mounts::Event;

/// A holder at node 0 and one who wants the lock at node 1, with the file open.
struct Two {
    rig: Rig,
    holder: Conn,
    wanter: Conn,
    session: SessionId,
    file: InodeId,
}

fn two() -> Two {
    let mut rig = Rig::new();
    let (holder, _) = rig.mount(0);
    let file = created(rig.call(holder, 1, &create("file")));
    rig.connect(1, HOME);
    let (wanter, session) = rig.mount(1);
    assert_eq!(status(rig.call(wanter, 1, &open(file))), Ok(()));
    let take = flock(file, 1, 1, LOCK_EXCLUSIVE);
    assert_eq!(status(rig.call(holder, 1, &take)), Ok(()));
    Two {
        rig,
        holder,
        wanter,
        session,
        file,
    }
}

impl Two {
    fn want(&mut self) {
        let want = flock(self.file, 2, 5, LOCK_EXCLUSIVE);
        self.rig.send(self.wanter, 3, &want);
    }

    fn told(&mut self) -> Option<Reply> {
        let want = flock(self.file, 2, 5, LOCK_EXCLUSIVE);
        self.rig.reply(self.wanter, 3, &want)
    }

    fn give_back(&mut self) {
        let give = flock(self.file, 1, 2, UNLOCK);
        assert_eq!(status(self.rig.call(self.holder, 1, &give)), Ok(()));
    }
}

const GRANTED: Option<Reply> = Some(Reply::Flock(Ok(Done)));

#[test]
fn a_lock_is_granted_to_who_waits_at_another_node() {
    let mut two = two();
    two.want();
    assert_eq!(two.told(), None);
    two.give_back();
    assert_eq!(two.told(), GRANTED);
    two.give_back();
    assert_eq!(two.told(), None, "once");
}

#[test]
fn a_grant_may_come_before_the_word_that_it_has_to_be_waited_for() {
    let mut two = two();
    two.rig.mode = Mode::HoldAnswers;
    two.want();
    two.rig.mode = Mode::AtOnce;
    two.give_back();
    assert_eq!(two.told(), None);
    two.rig.release_all();
    assert_eq!(two.told(), GRANTED);
}

#[test]
fn a_wait_that_is_interrupted_ends_without_the_lock() {
    let mut two = two();
    two.want();
    let interrupt = flock(two.file, 2, 5, INTERRUPT);
    two.rig.send(two.wanter, 4, &interrupt);
    assert_eq!(two.told(), Some(Reply::Flock(Err(Status::EINTR))));
    assert_eq!(status(two.rig.reply(two.wanter, 4, &interrupt)), Ok(()));
    two.give_back();
    assert_eq!(two.told(), None);
}

#[test]
fn who_waits_while_news_may_have_been_missed_asks_again() {
    let mut two = two();
    two.want();
    two.rig.deaf = Some(1);
    two.give_back();
    assert_eq!(two.told(), None);
    two.rig.deaf = None;
    two.rig.feed(1, Event::StateReplaced);
    let closed = two.rig.closed(two.wanter).expect("it asks again");
    assert!(closed.contains("news"), "{closed}");
    assert_eq!(two.rig.closed(two.holder), None, "nobody else");
    two.wanter = two.rig.come_back(0, two.session);
    two.want();
    assert_eq!(two.told(), GRANTED);
}

#[test]
fn so_does_who_learns_only_afterwards_that_it_waits() {
    let mut two = two();
    two.rig.mode = Mode::HoldAnswers;
    two.want();
    two.rig.mode = Mode::AtOnce;
    two.rig.deaf = Some(1);
    two.give_back();
    two.rig.deaf = None;
    two.rig.feed(1, Event::StateReplaced);
    assert_eq!(two.rig.closed(two.wanter), None);
    two.rig.release_all();
    assert_eq!(two.told(), None);
    assert!(
        two.rig.closed(two.wanter).is_some(),
        "it may hold it already"
    );
    two.wanter = two.rig.come_back(0, two.session);
    two.want();
    assert_eq!(two.told(), GRANTED);
}

#[test]
fn a_lost_connection_waits_for_nothing_and_its_next_one_asks_anew() {
    let mut two = two();
    two.want();
    two.rig.lose(two.wanter);
    two.give_back();
    two.wanter = two.rig.come_back(1, two.session);
    two.want();
    assert_eq!(two.told(), GRANTED, "the session has it");
}

#[test]
fn a_wait_goes_on_at_another_node() {
    let mut two = two();
    two.want();
    two.rig.lose(two.wanter);
    two.wanter = two.rig.come_back(0, two.session);
    two.want();
    assert_eq!(two.told(), None);
    two.give_back();
    assert_eq!(two.told(), GRANTED);
}

#[test]
fn a_repeat_that_finds_the_first_word_does_not_wait_for_what_has_passed() {
    let mut two = two();
    // The first request is on its way when the client comes back, and is carried out, and the
    // lock granted, before the second one comes.
    two.rig.mode = Mode::HoldAsked;
    two.want();
    two.rig.lose(two.wanter);
    two.rig.mode = Mode::AtOnce;
    two.wanter = two.rig.come_back(0, two.session);
    two.rig.release_all();
    two.give_back();
    two.want();
    let told = two.told();
    if two.rig.closed(two.wanter).is_some() {
        assert_eq!(told, None);
        two.wanter = two.rig.come_back(0, two.session);
        two.want();
        assert_eq!(two.told(), GRANTED);
    } else {
        assert_eq!(told, GRANTED);
    }
}

#[test]
fn a_wait_that_another_connection_of_the_session_takes_over_ends() {
    let mut two = two();
    two.want();
    let old = std::mem::replace(&mut two.wanter, two.rig.come_back(1, two.session));
    two.want();
    let want = flock(two.file, 2, 5, LOCK_EXCLUSIVE);
    let told = two.rig.reply(old, 3, &want);
    assert_eq!(told, Some(Reply::Flock(Err(Status::EINTR))));
    two.give_back();
    assert_eq!(two.told(), GRANTED);
}

#[test]
fn the_same_wait_twice_on_one_connection_is_answered_twice() {
    let mut two = two();
    two.want();
    let want = flock(two.file, 2, 5, LOCK_EXCLUSIVE);
    two.rig.send(two.wanter, 4, &want);
    assert_eq!(two.told(), Some(Reply::Flock(Err(Status::EINTR))));
    two.give_back();
    assert_eq!(two.rig.reply(two.wanter, 4, &want), GRANTED);
}
