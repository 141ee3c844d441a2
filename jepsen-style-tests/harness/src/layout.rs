//! What a round works on: fresh subtrees, so that what is judged stays small, and which question a
//! writer asks next. Every name is made by one writer alone or belongs to a fixed population.

use mfsha_core::id::InodeId;
use mfsha_core::rng::Rng;

use crate::journal::RegisterAction;
use crate::step::{Place, Step};

/// Writers that share an area.
pub const GROUP_WRITERS: usize = 4;
/// Registers of an area.
const REGISTERS: usize = 2;
/// Directories of a bank, and files that move between them.
const BANK_DIRS: usize = 3;
const BANK_FILES: usize = 10;
/// Names that the writers of an area fight for.
const NAMES: u64 = 3;

/// What one group of writers works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Where unique names are made and never removed.
    pub set: Place,
    /// Where names are made, moved and removed.
    pub dirs: Vec<Place>,
    /// A file that is given more names, and never loses its own.
    pub anchor: Place,
    /// Files whose attribute is a register.
    pub registers: Vec<Place>,
}

/// A fixed population of files and where they may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    /// The directories.
    pub dirs: Vec<Place>,
    /// The files' names, which they keep.
    pub files: Vec<String>,
}

/// What a round works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// One for each group of writers.
    pub areas: Vec<Area>,
    /// One for each two groups.
    pub banks: Vec<Bank>,
}

impl Layout {
    /// All directories that hold something but places.
    pub fn dirs(&self) -> impl Iterator<Item = &Place> {
        let of_areas = self
            .areas
            .iter()
            .flat_map(|area| std::iter::once(&area.set).chain(&area.dirs));
        of_areas.chain(self.banks.iter().flat_map(|bank| &bank.dirs))
    }

    /// All files that stay where they are.
    pub fn files(&self) -> impl Iterator<Item = &Place> {
        self.areas
            .iter()
            .flat_map(|area| std::iter::once(&area.anchor).chain(&area.registers))
    }
}

/// Top of a round's subtrees of one kind.
#[must_use]
pub fn top(letter: char, round: u32, number: usize) -> String {
    format!("{letter}{round}-{number}")
}

/// Names of a bank's files.
#[must_use]
pub fn bank_files() -> Vec<String> {
    (0..BANK_FILES).map(|number| format!("f{number}")).collect()
}

/// Something to be made when a round is set up, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Make {
    /// A directory: path of its parent, name.
    Dir(String, String),
    /// A file.
    File(String, String),
}

/// How many groups so many writers form.
#[must_use]
pub fn groups(writers: usize) -> usize {
    writers.div_ceil(GROUP_WRITERS)
}

/// Everything that a round needs, parents first.
#[must_use]
pub fn makes(round: u32, writers: usize) -> Vec<Make> {
    let slash = || "/".to_owned();
    let mut makes = Vec::new();
    for group in 0..groups(writers) {
        makes.push(Make::Dir(slash(), top('s', round, group)));
        let tree = top('t', round, group);
        makes.push(Make::Dir(slash(), tree.clone()));
        for dir in ["d0", "d1"] {
            makes.push(Make::Dir(format!("/{tree}"), dir.to_owned()));
        }
        makes.push(Make::File(format!("/{tree}"), "anchor".to_owned()));
        for register in 0..REGISTERS {
            makes.push(Make::File(
                slash(),
                format!("{}-{register}", top('r', round, group)),
            ));
        }
    }
    for bank in 0..groups(writers).div_ceil(2) {
        let name = top('b', round, bank);
        makes.push(Make::Dir(slash(), name.clone()));
        for dir in 0..BANK_DIRS {
            makes.push(Make::Dir(format!("/{name}"), format!("d{dir}")));
        }
        for file in bank_files() {
            makes.push(Make::File(format!("/{name}/d0"), file));
        }
    }
    makes
}

/// The layout, once everything was made.
///
/// # Panics
/// When something was not made: `inode_of` has to know every path of [`makes`].
#[must_use]
pub fn layout(round: u32, writers: usize, inode_of: impl Fn(&str) -> InodeId) -> Layout {
    let place = |path: String| Place {
        inode: inode_of(&path),
        path,
    };
    let area = |group| {
        let tree = top('t', round, group);
        let register = |number| place(format!("/{}-{number}", top('r', round, group)));
        Area {
            set: place(format!("/{}", top('s', round, group))),
            dirs: ["d0", "d1"]
                .iter()
                .map(|dir| place(format!("/{tree}/{dir}")))
                .collect(),
            anchor: place(format!("/{tree}/anchor")),
            registers: (0..REGISTERS).map(register).collect(),
        }
    };
    let bank = |number| {
        let name = top('b', round, number);
        let dirs = (0..BANK_DIRS)
            .map(|dir| place(format!("/{name}/d{dir}")))
            .collect();
        Bank {
            dirs,
            files: bank_files(),
        }
    };
    Layout {
        areas: (0..groups(writers)).map(area).collect(),
        banks: (0..groups(writers).div_ceil(2)).map(bank).collect(),
    }
}

/// What one writer asks.
#[derive(Debug)]
pub struct Script {
    layout: Layout,
    group: usize,
    writer: usize,
    rng: Rng,
    made: u64,
    value: i64,
    /// Names that it made and was told of.
    pub acknowledged: Vec<String>,
}

impl Script {
    /// The script of a writer, or of a reader, who reads only.
    #[must_use]
    pub fn new(layout: Layout, writer: usize, rng: Rng) -> Self {
        let group = (writer / GROUP_WRITERS) % layout.areas.len();
        Self {
            layout,
            group,
            writer,
            rng,
            made: 0,
            value: 0,
            acknowledged: Vec::new(),
        }
    }

    /// The stream it draws from.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn area(&self) -> &Area {
        &self.layout.areas[self.group]
    }

    fn bank(&self) -> &Bank {
        &self.layout.banks[self.group / 2]
    }

    /// The next question of a writer.
    pub fn next_write(&mut self) -> Step {
        match self.rng.below(100) {
            0..30 => {
                self.made += 1;
                let name = format!("w{}-{}", self.writer, self.made);
                Step::create(&self.area().set, &name)
            }
            30..55 => self.register_step(),
            55..75 => self.bank_step(),
            _ => self.tree_step(),
        }
    }

    fn register_step(&mut self) -> Step {
        self.value += 1;
        // Unique in a round, never 0, and small enough to read.
        let value = self.value * 1_000 + self.writer as i64 + 1;
        let action = match self.rng.below(10) {
            0..4 => RegisterAction::Set(value),
            4..6 => RegisterAction::Create(value),
            6..8 => RegisterAction::Replace(value),
            _ => RegisterAction::Remove,
        };
        let registers = self.area().registers.clone();
        Step::register(self.rng.pick(&registers), action)
    }

    fn bank_step(&mut self) -> Step {
        let bank = self.bank().clone();
        let file = self.rng.pick(&bank.files);
        let from = self.rng.below(BANK_DIRS as u64) as usize;
        let to = (from + 1 + self.rng.below(BANK_DIRS as u64 - 1) as usize) % BANK_DIRS;
        Step::rename(&bank.dirs[from], file, &bank.dirs[to], file)
    }

    fn tree_step(&mut self) -> Step {
        let area = self.area().clone();
        let name = |rng: &mut Rng, letter: char| format!("{letter}{}", rng.below(NAMES));
        let dir = self.rng.pick(&area.dirs).clone();
        let other = self.rng.pick(&area.dirs).clone();
        match self.rng.below(8) {
            0 => Step::create(&dir, &name(&mut self.rng, 'f')),
            1 => Step::unlink(&dir, &name(&mut self.rng, 'f')),
            2 => Step::mkdir(&dir, &name(&mut self.rng, 's')),
            3 => Step::rmdir(&dir, &name(&mut self.rng, 's')),
            4 => Step::link(&area.anchor, &dir, &name(&mut self.rng, 'h')),
            5 => Step::unlink(&dir, &name(&mut self.rng, 'h')),
            6 => {
                let (old, new) = (name(&mut self.rng, 'f'), name(&mut self.rng, 'f'));
                Step::rename(&dir, &old, &other, &new)
            }
            _ => {
                let (old, new) = (name(&mut self.rng, 's'), name(&mut self.rng, 's'));
                Step::rename(&dir, &old, &other, &new)
            }
        }
    }

    /// A name that this writer made and was told of.
    pub fn own_lookup(&mut self) -> Option<Step> {
        if self.acknowledged.is_empty() {
            return None;
        }
        let name = self.rng.pick(&self.acknowledged).clone();
        Some(Step::lookup(&self.area().set, &name))
    }

    /// A read of anything in the round.
    pub fn next_read(&mut self) -> Step {
        let (layout, rng) = (&self.layout, &mut self.rng);
        let area = rng.pick(&layout.areas);
        match rng.below(20) {
            0..7 => Step::register(rng.pick(&area.registers), RegisterAction::Read),
            7..11 => {
                let letter = *rng.pick(&['f', 's', 'h']);
                Step::lookup(
                    rng.pick(&area.dirs),
                    &format!("{letter}{}", rng.below(NAMES)),
                )
            }
            11..13 => Step::readdir(rng.pick(&area.dirs)),
            13..15 => Step::getattr(&area.anchor),
            15..18 => {
                let bank = rng.pick(&layout.banks);
                Step::lookup(rng.pick(&bank.dirs), rng.pick::<String>(&bank.files))
            }
            18 => {
                let bank = rng.pick(&layout.banks);
                Step::readdir(rng.pick(&bank.dirs))
            }
            _ => Step::readdir(&area.set),
        }
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;

    #[test]
    fn everything_that_a_layout_names_is_made_before_its_children() {
        let mut known = vec!["/".to_owned()];
        for make in makes(3, 16) {
            let (Make::Dir(parent, name) | Make::File(parent, name)) = make;
            assert!(known.contains(&parent), "{parent}");
            let slash = if parent == "/" { "" } else { "/" };
            known.push(format!("{parent}{slash}{name}"));
        }
        let layout = layout(3, 16, |path| {
            let at = known.iter().position(|it| it == path);
            InodeId(u32::try_from(at.expect("it is made")).unwrap())
        });
        assert_eq!((layout.areas.len(), layout.banks.len()), (4, 2));
    }

    #[test]
    fn no_two_writers_make_one_name_and_no_two_values_are_equal() {
        let layout = layout(1, 16, |_| InodeId(2));
        let mut seen = std::collections::BTreeSet::new();
        for writer in 0..16 {
            let rng = Seed::from_u64(1).index(writer).rng();
            let mut script = Script::new(layout.clone(), writer as usize, rng);
            for _ in 0..300 {
                let step = script.next_write();
                let text = serde_json::to_string(&step.call).unwrap();
                let is_own =
                    text.contains("/s1-") || text.contains("set\"") || text.contains("create\":");
                if is_own {
                    assert!(seen.insert(text.clone()), "{text}");
                }
            }
        }
    }
}
