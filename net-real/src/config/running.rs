//! The configuration of a process: its layers, loading, reloading, and setting while it runs.
//!
//! Who acts on a changed setting is not known here: the caller hears which keys changed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mfsha_core::native::admin::{AdminAnswer, AdminError, Setting};

use super::checks::{self, Warning};
use super::file;
use super::key::{KEYS, Key, NAME_BYTES_MAX};
use super::problem::{ConfigError, Fault, Place, Problem, meant};
use super::settings::{Held, Settings, Source};
use super::value::{Value, ValueError};

/// The variables of the environment.
#[derive(Clone, Debug)]
pub enum Environment {
    /// Those of the process, read anew each time.
    Process,
    /// These.
    Fixed(BTreeMap<String, OsString>),
}

/// A setting given on the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// The option, for messages.
    pub option: String,
    /// The key.
    pub key: Key,
    /// The value, as it was given.
    pub text: String,
}

/// Without the value: it may be a secret.
impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.option, self.key.name())
    }
}

/// Where a configuration is read from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// `mfsha.cfg`; `None` for none.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The command line; each key once.
    pub command_line: Vec<Given>,
}

/// The configuration of a process.
#[derive(Clone, Debug)]
pub struct Configuration {
    inputs: Inputs,
    settings: Settings,
    warnings: Vec<Warning>,
    /// What an operator has set since the start.
    operator: BTreeMap<Key, Value>,
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Keys that hold a new value now.
    pub changed: Vec<Key>,
    /// Keys whose new value takes a restart.
    pub need_restart: Vec<Key>,
    /// What an operator should hear of the new configuration.
    pub warnings: Vec<Warning>,
}

/// Why an operator cannot set a key. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No such key.
    #[error("there is no key {name:?}{}", meant(*.nearest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The one that was meant, perhaps.
        nearest: Option<Key>,
    },
    /// It takes a restart.
    #[error(
        "{} cannot change while the node runs; set it in mfsha.cfg and restart the node",
        .key.name()
    )]
    NotLive {
        /// The key.
        key: Key,
    },
    /// The value is none for this key.
    #[error("{}: {error}", .key.name())]
    Value {
        /// The key.
        key: Key,
        /// What is wrong with it.
        error: ValueError,
    },
    /// It cannot stand beside another setting.
    #[error("{0}")]
    Contradiction(#[from] checks::Contradiction),
}

/// What a reading of all layers came to.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// Every good value; the default where a bad one was given.
    pub settings: Settings,
    /// Where the value of a key was given.
    pub places: BTreeMap<Key, Place>,
    pub warnings: Vec<Warning>,
    pub problems: Vec<Problem>,
}

impl Environment {
    fn get(&self, name: &str) -> Option<OsString> {
        match self {
            Self::Process => std::env::var_os(name),
            Self::Fixed(variables) => variables.get(name).cloned(),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Process => std::env::vars_os()
                .filter_map(|(name, _)| name.into_string().ok())
                .collect(),
            Self::Fixed(variables) => variables.keys().cloned().collect(),
        }
    }

    /// Variables that are no key, but so near to one that a slip is likely.
    fn slips(&self) -> Vec<Warning> {
        let names = self.names().into_iter();
        let ours = names.filter(|name| {
            (name.starts_with("MFSHA_") || name.starts_with("HA_"))
                && name.len() <= NAME_BYTES_MAX
                && Key::named(name).is_none()
        });
        let mut slips: Vec<_> = ours
            .filter_map(|name| {
                let nearest = Key::nearest(&name)?;
                Some(Warning::UnknownVariable { name, nearest })
            })
            .collect();
        slips.sort_by_key(ToString::to_string);
        slips
    }
}

/// Gathers values and what is wrong with them, lowest layer first.
struct Gatherer {
    checked: Checked,
}

impl Gatherer {
    fn refuse(&mut self, place: Place, fault: Fault) {
        self.checked.problems.push(Problem { place, fault });
    }

    fn take(&mut self, key: Key, text: &str, source: Source, place: impl FnOnce() -> Place) {
        match parse(key, text) {
            Ok(value) => {
                self.checked.settings.put(key, Held { value, source });
                self.checked.places.insert(key, place());
            }
            Err(error) => self.refuse(place(), Fault::Value { key, error }),
        }
    }

    fn take_file(&mut self, path: &Path) {
        let (assignments, problems) = file::read_file(path);
        self.checked.problems.extend(problems);
        for given in assignments {
            let place = || Place::Line {
                path: path.to_owned(),
                line: given.line,
                column: given.column,
            };
            if given.key.spec().secret && !given.text.is_empty() {
                self.maybe_warn_of_open_file(path, given.key);
            }
            self.take(given.key, &given.text, Source::File, place);
        }
    }

    fn maybe_warn_of_open_file(&mut self, path: &Path, key: Key) {
        let open = path
            .metadata()
            .is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0);
        if open {
            let file = path.display().to_string();
            let warning = Warning::SecretInOpenFile { file, key };
            self.checked.warnings.push(warning);
        }
    }

    fn take_environment(&mut self, environment: &Environment) {
        for spec in &KEYS {
            let place = || Place::Variable { name: spec.name };
            let Some(text) = environment.get(spec.name) else {
                continue;
            };
            match text.into_string() {
                // Whoever starts containers cannot always leave a variable out.
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => self.take(spec.key, &text, Source::Environment, place),
                Err(_) => self.refuse(place(), Fault::NotUtf8),
            }
        }
        self.checked.warnings.extend(environment.slips());
    }

    fn take_command_line(&mut self, given: &[Given]) {
        let mut seen: BTreeMap<Key, &str> = BTreeMap::new();
        for Given { option, key, text } in given {
            let place = || Place::Option {
                option: option.clone(),
            };
            if let Some(before) = seen.insert(*key, option) {
                let (key, before) = (*key, format!("with {before}"));
                self.refuse(place(), Fault::Twice { key, before });
                continue;
            }
            self.take(*key, text, Source::CommandLine, place);
        }
    }
}

/// Reads a value; an empty text is no value where a key can do without one.
fn parse(key: Key, text: &str) -> Result<Option<Value>, ValueError> {
    let spec = key.spec();
    if text.trim().is_empty() && spec.default.is_empty() {
        return Ok(None);
    }
    spec.kind.parse(text).map(Some)
}

/// Reads all layers.
pub(super) fn check(inputs: &Inputs, operator: &BTreeMap<Key, Value>) -> Checked {
    let mut gatherer = Gatherer {
        checked: Checked {
            settings: Settings::default(),
            places: BTreeMap::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        },
    };
    if let Some(path) = &inputs.file {
        gatherer.take_file(path);
    }
    gatherer.take_environment(&inputs.environment);
    gatherer.take_command_line(&inputs.command_line);
    let mut checked = gatherer.checked;
    overlay(&mut checked.settings, operator);
    checked.warnings.extend(checks::warnings(&checked.settings));
    let contradictions = checks::contradictions(&checked.settings);
    checked.problems.extend(contradictions.into_iter().map(|c| {
        let (place, fault) = (Place::Together, Fault::Contradiction(c));
        Problem { place, fault }
    }));
    checked
}

fn overlay(settings: &mut Settings, operator: &BTreeMap<Key, Value>) {
    for (key, value) in operator {
        let (value, source) = (Some(value.clone()), Source::Operator);
        settings.put(*key, Held { value, source });
    }
}

impl Checked {
    fn or_refuse(self) -> Result<(Settings, Vec<Warning>), ConfigError> {
        match self.problems.is_empty() {
            true => Ok((self.settings, self.warnings)),
            false => Err(ConfigError {
                problems: self.problems,
            }),
        }
    }
}

impl Configuration {
    /// Reads file, environment and command line.
    ///
    /// # Errors
    /// [`ConfigError`], with everything that is wrong.
    pub fn load(inputs: Inputs) -> Result<Self, ConfigError> {
        let operator = BTreeMap::new();
        let (settings, warnings) = check(&inputs, &operator).or_refuse()?;
        Ok(Self {
            inputs,
            settings,
            warnings,
            operator,
        })
    }

    /// The settings as they are now.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What an operator should hear of what was loaded last.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Every setting as operators see it.
    #[must_use]
    pub fn listing(&self) -> Vec<Setting> {
        self.settings.listing()
    }

    /// Gives a key another value until the next start. The caller acts on it.
    ///
    /// # Errors
    /// [`SetError`]: nothing has changed.
    pub fn set(&mut self, name: &str, text: &str) -> Result<Key, SetError> {
        let name = name.trim();
        let Some(key) = Key::named(name) else {
            let nearest = Key::nearest(name);
            let name = name.chars().take(100).collect();
            return Err(SetError::Unknown { name, nearest });
        };
        if !key.spec().live {
            return Err(SetError::NotLive { key });
        }
        let value = key.spec().kind.parse(text);
        let value = value.map_err(|error| SetError::Value { key, error })?;
        let mut operator = self.operator.clone();
        operator.insert(key, value);
        let mut settings = self.settings.clone();
        overlay(&mut settings, &operator);
        if let Some(found) = checks::contradictions(&settings).into_iter().next() {
            return Err(found.into());
        }
        (self.operator, self.settings) = (operator, settings);
        Ok(key)
    }

    /// Reads file and environment again and takes over what may change while the node runs; what
    /// an operator has set stays. The caller acts on what changed.
    ///
    /// # Errors
    /// [`ConfigError`]: nothing has changed.
    pub fn reload(&mut self) -> Result<Reload, ConfigError> {
        let checked = check(&self.inputs, &self.operator);
        let places = checked.places.clone();
        let (wanted, warnings) = checked.or_refuse()?;
        let mut reload = Reload {
            warnings: warnings.clone(),
            ..Reload::default()
        };
        let mut settings = self.settings.clone();
        for spec in &KEYS {
            let held = wanted.held(spec.key).clone();
            let same = held.value.as_ref() == settings.value(spec.key);
            match (same, spec.live) {
                (true, _) => settings.put(spec.key, held),
                (false, true) => {
                    settings.put(spec.key, held);
                    reload.changed.push(spec.key);
                }
                (false, false) => {
                    let (key, place) = (spec.key, places.get(&spec.key).cloned());
                    reload.need_restart.push(key);
                    reload.warnings.push(Warning::TakesRestart { key, place });
                }
            }
        }
        // New live values beside old ones of the others: that was not checked yet.
        let problems = checks::contradictions(&settings).into_iter().map(|found| {
            let (place, fault) = (Place::Together, Fault::Contradiction(found));
            Problem { place, fault }
        });
        let problems: Vec<_> = problems.collect();
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        (self.settings, self.warnings) = (settings, warnings);
        Ok(reload)
    }
}

impl From<SetError> for AdminError {
    fn from(error: SetError) -> Self {
        Self::Setting(error.to_string())
    }
}

impl From<Reload> for AdminAnswer {
    fn from(reload: Reload) -> Self {
        let names = |keys: Vec<Key>| keys.into_iter().map(|key| key.name().into()).collect();
        Self::Reloaded {
            changed: names(reload.changed),
            need_restart: names(reload.need_restart),
        }
    }
}
