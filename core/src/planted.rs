//! Bugs put in on purpose: most for the simulator's checkers to find, some for a test of the core
//! alone. Which is for whom is a closed list of the simulator's (`sim/src/bugs.rs`).
//!
//! They are compiled only with the feature `planted-bugs`, and each is switched on by naming it in
//! the options of the machine that has it. No product build has the feature.

/// Makes the list of all variants with them: none can be left out of it.
macro_rules! closed {
    ($(#[$of_all:meta])* pub enum $name:ident { $($(#[$of_one:meta])* $variant:ident,)* }) => {
        $(#[$of_all])*
        pub enum $name {
            $($(#[$of_one])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

closed! {
    /// A mistake that others made. Each says which promise it breaks, and the number that the
    /// design gives it among the mistakes of others, where it has one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Bug {
        /// Raft acknowledges an append before the log is flushed: a crash loses acknowledged
        /// entries.
        AckBeforeFlush,
        /// Raft keeps its vote in memory only: a node that restarts votes twice in one term.
        VoteNotPersisted,
        /// Raft gives a peer up for ever once a vote request to it failed, and sends it nothing
        /// more: no leader is elected unless all nodes start together.
        PeersNeverRetried,
        /// Elections begin, and end, eight times as late as the options say. P-LIVE.
        ElectionsLate,
        /// A strict read is answered from the node's own applied state, whoever leads.
        UncheckedRead,
        /// The leader counts an append as stored by a peer as soon as it was sent.
        CommitWithoutQuorum,
        /// The leader trusts its lease for several times as long as its followers keep it.
        LeaseKeptTooLong,
        /// A voter that restarts votes at once, although it had promised a leader a lease.
        LeaseForgottenOnRestart,
        /// A follower stores some entries without what they say. Log matching.
        FollowerAltersEntry,
        /// 3: the version is set from an older change when its request comes again, and so falls.
        /// P-VERSION.
        VersionOfOldChange,
        /// 4: a node answers strict reads by itself, without asking who leads. P-LINEAR.
        FollowerReadsItself,
        /// 5: notices are sent by whoever applies an entry, leader or not. P-FENCE.
        OrdersWithoutLeading,
        /// 5: a leader gives orders without a lease and to whoever is not fenced, and relays carry
        /// out those of a term that is over. P-FENCE.
        OldOrdersCarriedOut,
        /// A leader that has lost sight of chunkservers goes on with the orders that it gave them
        /// before, and knows nothing of those: a copy that counts again is still deleted. P-CHUNKS.
        ForgottenOrdersCarriedOut,
        /// 6: a chunkserver that registers again is counted beside its earlier registration.
        /// P-CHUNKS.
        RegistrationCountedTwice,
        /// A version is settled although some chunkservers with a copy have failed or gone: they
        /// may have done it all the same, and come back with what was written before. P-CHUNKS.
        SettledDespiteFailure,
        /// A leader that knows of no round takes the copies that it sees for all, and lets a chunk
        /// be written without a new version. P-CHUNKS.
        WrittenWithoutVersion,
        /// Copies of chunks and versions that the state never gave out are taken for old ones, and
        /// deleted: the state is of a backup, and they are what was written since.
        NewerCopiesDeleted,
        /// A state that may be of a backup gives out its next numbers at once: a chunkserver that is
        /// still to come has other chunks under them. P-CHUNKS.
        NumbersOfTheFutureGiven,
        /// A copy that is to move is deleted where it is before it is where it shall be: when the
        /// other chunkserver cannot take it, it is nowhere. P-CHUNKS.
        MovedBeforeCopied,
        /// A chunk whose version was told to all copies is written again without a new one, though
        /// some of these are gone: they come back, and pass for good. P-BYTES.
        MissedWriteCounts,
        /// What a mount says that it has written, its node passes on without how long the file is
        /// then: who reads finds its end before that. P-BYTES.
        WrittenLengthLost,
        /// Room for an append is told and not reserved: the next append is given the same. P-BYTES.
        RoomGivenTwice,
        /// A node answers one who asks where a chunk is with what it told somebody before. P-BYTES.
        OldPlacesTold,
        /// 8: the range of ids that a new leader gives out overlaps that of the one before. P-IDS.
        IdRangesOverlap,
        /// 12: a replica that restarts merges counters with those of its checkpoint by adding them.
        /// P-CONVERGE.
        CountersMergedByAdding,
        /// 14: a request that comes again, as after a failover, is carried out again. P-ONCE.
        RetryExecutesTwice,
        /// 14: a write that a face asks again, of another leader, gets another number. P-ONCE, seen
        /// as P-LINEAR.
        AskedAgainAnew,
        /// 9: a node knows only the sessions that were opened at it. P-SESSION.
        SessionOfOneNode,
        /// 14: a request that a mount says again after a lost connection is taken for another one.
        /// P-ONCE.
        RepeatTakenForNew,
        /// 16: a state taken over from a peer lacks sessions, their memory, open files and locks.
        /// P-SESSION, seen as P-CONVERGE.
        SnapshotWithoutSessions,
        /// 18: the first change that is replayed after a restart counts a second time. P-VERSION.
        ReplayCountsAgain,
        /// What a rename replaces loses its name and nothing else: it can never be reached nor
        /// freed. P-TREE.
        ReplacedNodeLeaks,
        /// The trash remembers the name of a file and not its path. Every replica does it, the log
        /// is right, and so is every outcome: only the state is not. P-DURABLE.
        TrashForgetsPath,
        /// A transport keeps the half frame of a connection that broke, and reads on with it on the
        /// next one: a connection that was torn within a frame costs another one. STREAM.
        HalfFrameKept,
        /// A transport takes frames for what was sent without comparing their checksums. STREAM.
        FrameUnchecked,
        /// The log begins a batch at any sector, so that it shares a page with what was flushed
        /// before: a disk that writes whole pages tears both. P-DURABLE.
        BatchesSharePages,
        /// A log that is opened takes what was flushed and is damaged for the end of what was ever
        /// written. P-DURABLE.
        DamageTakenForTornTail,
    }
}
