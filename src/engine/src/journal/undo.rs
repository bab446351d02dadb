//! The trait by which each kind of effect is undone, and the registry of those that this program knows. Not
//! for: when that happens.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use super::{EffectKind, ResourceId};

/// Why an effect could not be undone; its message is shown to the user, so it says what to do.
pub type UndoError = Box<dyn Error + Send + Sync>;

/// What undoing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoOutcome {
    /// It existed and does not any more.
    Undone,
    /// It did not exist: it never came to be, or someone else has removed it.
    AlreadyGone,
}

/// Knows how to undo one kind of effect.
///
/// An undo must be idempotent (the program may die between the undo and its record) and must work from the
/// intent alone (the program may have died between the effect and its record): an intent holds the tag or
/// token by which the effect can be found. It must undo nothing that it cannot tell to be the effect.
#[async_trait::async_trait]
pub trait Undo: Send + Sync {
    /// The kind that it knows.
    fn kind(&self) -> &EffectKind;

    /// Undoes the effect with this intent; `resource` is what it was called, if it is known to have been
    /// made. May be dropped when it takes too long, and is then called again by a later cleanup.
    async fn undo(
        &self,
        intent: &serde_json::Value,
        resource: Option<&ResourceId>,
    ) -> Result<UndoOutcome, UndoError>;
}

/// Which [`Undo`] knows which kind.
#[derive(Clone, Default)]
pub struct UndoRegistry {
    by_kind: BTreeMap<EffectKind, Arc<dyn Undo>>,
}

impl std::fmt::Debug for UndoRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_kind.keys()).finish()
    }
}

impl UndoRegistry {
    /// A registry that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `undo` under its kind.
    ///
    /// # Panics
    ///
    /// If the kind is taken: two parts of the program would undo each other's effects.
    #[must_use]
    pub fn with(mut self, undo: impl Undo + 'static) -> Self {
        let kind = undo.kind().clone();
        let before = self.by_kind.insert(kind, Arc::new(undo));
        assert!(before.is_none(), "two undos for one kind of effect");
        self
    }

    /// The undo for `kind`.
    pub fn get(&self, kind: &EffectKind) -> Option<&Arc<dyn Undo>> {
        self.by_kind.get(kind)
    }
}
