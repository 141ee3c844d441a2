//! One command that is timed: what has to be there before, and what comes of it.

use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Command, Op, Outcome};

use crate::stage::Stage;

/// How a command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// Under no number: nothing is remembered of it.
    Unnumbered,
    /// Under a new number, as those of clients do: its outcome is remembered.
    Numbered,
    /// Under the number of one that was carried out.
    Again,
}

/// One command that is timed.
#[derive(Debug)]
pub struct Case {
    /// What it is called: words that no other case is called by.
    pub name: &'static str,
    make: fn(&mut Stage) -> Op,
    comes: Comes,
    refusal: Option<FsError>,
}

impl Case {
    /// An operation that is carried out. `make` also does, untimed, whatever it needs, and can be
    /// called again and again.
    #[must_use]
    pub fn new(name: &'static str, make: fn(&mut Stage) -> Op) -> Self {
        Self {
            name,
            make,
            comes: Comes::Unnumbered,
            refusal: None,
        }
    }

    /// It comes as a client's request.
    #[must_use]
    pub fn numbered(self) -> Self {
        let comes = Comes::Numbered;
        Self { comes, ..self }
    }

    /// It comes a second time.
    #[must_use]
    pub fn repeated(self) -> Self {
        let comes = Comes::Again;
        Self { comes, ..self }
    }

    /// It is refused with this.
    #[must_use]
    pub fn refused(self, error: FsError) -> Self {
        let refusal = Some(error);
        Self { refusal, ..self }
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_carried_out(&self) -> bool {
        self.refusal.is_none() && self.comes != Comes::Again
    }

    /// Does what is not timed: the command that is to be carried out next.
    pub fn prepare(&self, stage: &mut Stage) -> Command {
        let op = (self.make)(stage);
        let world = &mut stage.world;
        let request = match self.comes {
            Comes::Unnumbered => None,
            Comes::Numbered | Comes::Again => Some(world.request()),
        };
        let command = world.command(op, request);
        if self.comes == Comes::Again {
            world.carry_out(&command);
        }
        command
    }

    /// Does what is timed.
    ///
    /// # Panics
    /// When anything else comes of it than the case is about: its time would be that of something
    /// else.
    pub fn run(&self, stage: &mut Stage, command: &Command) -> Outcome {
        let outcome = stage.world.carry_out(command);
        let refusal = outcome.result.as_ref().err().copied();
        assert_eq!(refusal, self.refusal, "{}", self.name);
        let repeated = self.comes == Comes::Again;
        assert_eq!(outcome.repeated, repeated, "{}", self.name);
        outcome
    }
}
