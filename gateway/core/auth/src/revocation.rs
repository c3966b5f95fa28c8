//! Who was revoked: subjects and single tokens.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::claims::is_name;

/// Most revocations.
const ENTRIES_MAX: usize = 100_000;

/// Subjects and tokens that are refused and whose streams are stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    subjects: BTreeSet<Box<str>>,
    token_ids: BTreeSet<Box<str>>,
}

/// What is wrong with a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RevocationError {
    /// A line that is none.
    #[error("line {0}: expected `subject NAME` or `token ID`")]
    Line(usize),
    /// See `ENTRIES_MAX`.
    #[error("{ENTRIES_MAX} revocations or more")]
    TooMany,
}

impl Revocations {
    /// Reads a list: `subject NAME` or `token ID` on a line; empty lines and those that begin with `#` are nothing.
    ///
    /// # Errors
    /// At the first line that is wrong: whoever could not be read would not be revoked.
    pub fn parse(text: &str) -> Result<Self, RevocationError> {
        let mut found = Self::default();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (kind, name) = line.split_once(' ').ok_or(RevocationError::Line(index + 1))?;
            match (kind, name.trim()) {
                ("subject", name) if is_name(name) => found.add_subject(name)?,
                ("token", name) if is_name(name) => found.add_token(name)?,
                _ => return Err(RevocationError::Line(index + 1)),
            }
        }
        Ok(found)
    }

    /// Revokes everything of a subject.
    ///
    /// # Errors
    /// [`RevocationError::TooMany`].
    pub fn add_subject(&mut self, subject: &str) -> Result<(), RevocationError> {
        self.check_room()?;
        self.subjects.insert(subject.into());
        Ok(())
    }

    /// Revokes one token by its `jti`.
    ///
    /// # Errors
    /// [`RevocationError::TooMany`].
    pub fn add_token(&mut self, token_id: &str) -> Result<(), RevocationError> {
        self.check_room()?;
        self.token_ids.insert(token_id.into());
        Ok(())
    }

    /// Adds others.
    ///
    /// # Errors
    /// [`RevocationError::TooMany`].
    pub fn extend(&mut self, others: Self) -> Result<(), RevocationError> {
        self.subjects.extend(others.subjects);
        self.token_ids.extend(others.token_ids);
        self.check_room()
    }

    fn check_room(&self) -> Result<(), RevocationError> {
        if self.len() >= ENTRIES_MAX { Err(RevocationError::TooMany) } else { Ok(()) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subjects.len() + self.token_ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn has(&self, subject: &str, token_id: Option<&str>) -> bool {
        self.subjects.contains(subject) || token_id.is_some_and(|id| self.token_ids.contains(id))
    }
}
