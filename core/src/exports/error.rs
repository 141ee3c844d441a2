//! What can be wrong with a file of exports, and where.

use std::fmt;

/// Everything that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ExportsError {
    /// At least one, in the order of the lines.
    pub faults: Vec<Fault>,
}

impl ExportsError {
    pub(super) fn whole(problem: Problem) -> Self {
        let (line, column) = (0, 0);
        let fault = Fault {
            line,
            column,
            problem,
        };
        Self {
            faults: vec![fault],
        }
    }
}

impl fmt::Display for ExportsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            write!(f, "{end}{fault}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong, or suspicious.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// Character of the word, from 1; 0 for the whole file.
    pub column: usize,
    /// What.
    pub problem: Problem,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, character {}: ", self.line, self.column)?;
        }
        self.problem.fmt(f)
    }
}

/// What is wrong. Passwords are never repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Problem {
    #[error("the file is longer than 1 MiB")]
    FileTooLong,
    #[error("there is more wrong; mend this first")]
    More,
    #[error("the line is longer than {limit} bytes, which MooseFS does not read either")]
    LineTooLong { limit: usize },
    #[error("there is no export: nobody could mount anything")]
    Empty,
    #[error("{word:?} stands alone: a line is ADDRESSES PATH OPTIONS, or DEFAULTS OPTIONS")]
    Incomplete { word: String },
    #[error(
        "{word:?} is no address: write *, 10.0.0.1, 10.0.0.0/24, 10.0.0.0/255.255.255.0 or \
         10.0.0.1-10.0.0.9"
    )]
    Address { word: String },
    #[error("{word:?} is a list: give each of its addresses a line of its own")]
    AddressList { word: String },
    #[error("{word:?} begins behind its end")]
    AddressOrder { word: String },
    #[error("{word:?} is no path: it begins with /, or is . for the meta file system{}", 
            behind(*.option))]
    Path { word: String, option: bool },
    #[error("there is no option {word:?}{}", meant(*.nearest))]
    UnknownOption {
        word: String,
        nearest: Option<&'static str>,
    },
    #[error("a comment has a line of its own")]
    Comment,
    #[error("there is nothing between two commas, or behind the last")]
    EmptyOption,
    #[error("{option} takes no value")]
    NeedlessValue { option: &'static str },
    #[error("{option} needs a value: {option}={example}")]
    MissingValue {
        option: &'static str,
        example: &'static str,
    },
    #[error("{option}={value} is wrong: {wanted}")]
    Value {
        option: &'static str,
        value: String,
        wanted: &'static str,
    },
    #[error("{option} is wrong: {wanted}")]
    Secret {
        option: &'static str,
        wanted: &'static str,
    },
    #[error("there is no operation {word:?} to disable{}", meant(*.nearest))]
    UnknownOperation {
        word: String,
        nearest: Option<&'static str>,
    },
    #[error("{option}: there is no {what} {name:?} on this machine; give numbers, USER:GROUP")]
    Account {
        option: &'static str,
        what: &'static str,
        name: String,
    },
    #[error(
        "{option}={uid}: the group of this user is not known on this machine; write \
         {option}={uid}:GROUP"
    )]
    Group { option: &'static str, uid: u32 },
    #[error("{low} is above {high} in this line")]
    Order {
        low: &'static str,
        high: &'static str,
    },
    /// A warning.
    #[error("{option} means nothing for the meta file system, and is ignored")]
    NotForMeta { option: &'static str },
    /// A warning.
    #[error("{option} is an old name of admin")]
    OldName { option: &'static str },
    /// A warning.
    #[error(
        "minversion={value} is compared as MooseFS does, without doubling the last number: it \
         lets clients from {lowest} on in"
    )]
    MinVersion { value: String, lowest: String },
}

fn meant(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |word| format!("; is {word} meant?"))
}

fn behind(option: bool) -> &'static str {
    if option {
        "; the options come behind the path"
    } else {
        ""
    }
}
