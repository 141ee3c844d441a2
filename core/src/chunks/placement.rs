//! Which chunkservers take the copies of a chunk.
//!
//! A storage class wants copies, each with labels. Chunkservers are matched to wanted copies so
//! that as many as possible lie where they are wanted; the rest goes to any server, unless the
//! class is strict (`shared` rules of MooseFS, protocol page 8.9: docs/protocols/chunks.md).

use crate::namespace::op::{ClassMode, LabelExpr};

/// A chunkserver that may take a copy, best first in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<P> {
    /// Where.
    pub place: P,
    /// Its labels.
    pub labels: u32,
    /// It can take a copy now.
    pub free: Room,
}

/// Whether a chunkserver can take a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Yes.
    Yes,
    /// It has too much to do now.
    Busy,
    /// It is full.
    Full,
}

/// What a choice came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<P> {
    /// These take the copies: at least one, at most as many as are wanted.
    Places(Vec<P>),
    /// Those that would are busy: later.
    Busy,
    /// There is no room.
    Full,
}

/// Whether a chunkserver with these labels is one that an expression asks for.
#[must_use]
pub fn fits(expr: &LabelExpr, labels: u32) -> bool {
    if expr[0] == 0 {
        return true;
    }
    expr.iter().any(|mask| *mask != 0 && labels & mask == *mask)
}

/// Matches servers to wanted copies: for each wanted copy the index of its server, as many as can
/// be, with servers that come first preferred.
#[must_use]
pub fn matched(wanted: &[LabelExpr], labels: &[u32]) -> Vec<Option<usize>> {
    // Augmenting paths: there are at most nine wanted copies.
    let mut server_of = vec![None; wanted.len()];
    let mut copy_of = vec![None; labels.len()];
    // Copies that ask for something choose before those that take any server.
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|copy| wanted[*copy][0] == 0);
    for copy in order {
        let mut seen = vec![false; labels.len()];
        let _ = augment(
            copy,
            wanted,
            labels,
            &mut seen,
            &mut server_of,
            &mut copy_of,
        );
    }
    server_of
}

fn augment(
    copy: usize,
    wanted: &[LabelExpr],
    labels: &[u32],
    seen: &mut [bool],
    server_of: &mut [Option<usize>],
    copy_of: &mut [Option<usize>],
) -> bool {
    for server in 0..labels.len() {
        if seen[server] || !fits(&wanted[copy], labels[server]) {
            continue;
        }
        seen[server] = true;
        let free = match copy_of[server] {
            None => true,
            Some(other) => augment(other, wanted, labels, seen, server_of, copy_of),
        };
        if free {
            copy_of[server] = Some(copy);
            server_of[copy] = Some(server);
            return true;
        }
    }
    false
}

/// Chooses servers for wanted copies.
#[must_use]
pub fn choose<P: Copy + PartialEq>(
    wanted: &[LabelExpr],
    mode: ClassMode,
    candidates: &[Candidate<P>],
) -> Choice<P> {
    let usable: Vec<&Candidate<P>> = candidates
        .iter()
        .filter(|it| it.free == Room::Yes)
        .collect();
    // Whoever has the labels and only too much to do is waited for, unless the class is loose.
    let waits = |expr: &LabelExpr| {
        mode != ClassMode::Loose
            && candidates
                .iter()
                .any(|it| it.free == Room::Busy && fits(expr, it.labels))
    };
    let labels: Vec<u32> = usable.iter().map(|it| it.labels).collect();
    let mut chosen: Vec<P> = Vec::new();
    let mut left = 0;
    for (expr, server) in wanted.iter().zip(matched(wanted, &labels)) {
        match server {
            Some(server) => chosen.push(usable[server].place),
            None if waits(expr) => {
                if expr[0] != 0 && chosen.is_empty() {
                    return Choice::Busy;
                }
            }
            None => left += 1,
        }
    }
    if mode == ClassMode::Strict {
        if left > 0 && chosen.len() < wanted.len().min(usable.len()) && chosen.is_empty() {
            return Choice::Full;
        }
    } else {
        for it in &usable {
            if left == 0 {
                break;
            }
            if !chosen.contains(&it.place) {
                chosen.push(it.place);
                left -= 1;
            }
        }
    }
    if !chosen.is_empty() {
        return Choice::Places(chosen);
    }
    match candidates.iter().any(|it| it.free == Room::Busy) {
        true => Choice::Busy,
        false => Choice::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: LabelExpr = [0; 4];
    const A: LabelExpr = [1, 0, 0, 0];
    const B: LabelExpr = [2, 0, 0, 0];
    const A_OR_B: LabelExpr = [1, 2, 0, 0];
    const A_AND_B: LabelExpr = [3, 0, 0, 0];

    fn servers(list: &[(u32, Room)]) -> Vec<Candidate<usize>> {
        let each = |(place, (labels, free)): (usize, &(u32, Room))| Candidate {
            place,
            labels: *labels,
            free: *free,
        };
        list.iter().enumerate().map(each).collect()
    }

    fn places(wanted: &[LabelExpr], mode: ClassMode, list: &[(u32, Room)]) -> Choice<usize> {
        let choice = choose(wanted, mode, &servers(list));
        if let Choice::Places(mut places) = choice {
            places.sort_unstable();
            return Choice::Places(places);
        }
        choice
    }

    #[test]
    fn labels_are_asked_for_as_masks() {
        assert!(fits(&ANY, 0));
        assert!(fits(&A, 1) && fits(&A, 3) && !fits(&A, 2));
        assert!(fits(&A_OR_B, 2) && !fits(&A_OR_B, 4));
        assert!(fits(&A_AND_B, 7) && !fits(&A_AND_B, 1));
    }

    #[test]
    fn a_server_is_left_to_the_copy_that_needs_it() {
        use Room::Yes;
        let list = [(3, Yes), (1, Yes)];
        // The first server could serve both; only the second copy needs it.
        let both = Choice::Places(vec![0, 1]);
        assert_eq!(places(&[A, B], ClassMode::Strict, &list), both);
        assert_eq!(places(&[B, A], ClassMode::Strict, &list), both);
        assert_eq!(places(&[ANY, B], ClassMode::Strict, &list), both);
    }

    #[test]
    fn what_no_labelled_server_takes_goes_elsewhere_unless_strict() {
        use Room::{Busy, Full, Yes};
        let list = [(1, Yes), (4, Yes), (2, Full)];
        assert_eq!(
            places(&[A, B], ClassMode::Std, &list),
            Choice::Places(vec![0, 1])
        );
        assert_eq!(
            places(&[A, B], ClassMode::Strict, &list),
            Choice::Places(vec![0])
        );
        assert_eq!(places(&[B], ClassMode::Strict, &list), Choice::Full);
        let list = [(4, Yes), (2, Busy)];
        assert_eq!(places(&[B], ClassMode::Std, &list), Choice::Busy);
        assert_eq!(places(&[B], ClassMode::Strict, &list), Choice::Busy);
        assert_eq!(
            places(&[B], ClassMode::Loose, &list),
            Choice::Places(vec![0])
        );
    }

    #[test]
    fn fewer_servers_than_copies_take_what_they_can() {
        use Room::{Busy, Full, Yes};
        let three = [ANY; 3];
        assert_eq!(
            places(&three, ClassMode::Std, &[(0, Yes), (0, Full)]),
            Choice::Places(vec![0])
        );
        assert_eq!(places(&three, ClassMode::Std, &[(0, Full)]), Choice::Full);
        assert_eq!(places(&three, ClassMode::Std, &[(0, Busy)]), Choice::Busy);
        assert_eq!(places(&three, ClassMode::Std, &[]), Choice::Full);
    }
}
