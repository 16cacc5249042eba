//! Token stores, each over the store that its entry names.

use std::sync::Arc;

use wippy_registry::{Diagnostic, EntryId, Linked, schema::Config};
use wippy_security::{MemoryStore, TokenStore, TokenStores, ValueStore};

/// Makes every token store.
pub(crate) fn token_stores(
    linked: &Linked,
    stores: impl Fn(&EntryId) -> Option<Arc<dyn ValueStore>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> TokenStores {
    let mut made = Vec::new();
    for entry in &linked.entries {
        let Config::TokenStore(declared) = &entry.config else {
            continue;
        };
        // A store that is not there was reported when the entries were linked.
        let Some(store) = stores(&declared.store) else {
            continue;
        };
        match TokenStore::new(entry.entry.id.clone(), declared, store) {
            Ok(store) => made.push(store),
            Err(error) => diagnostics.push(
                Diagnostic::error("token-store", format!("`{}`: {error}", entry.entry.id))
                    .primary(entry.entry.span_at("default_expiration"), ""),
            ),
        }
    }
    made.into_iter().collect()
}

/// Says what is wrong with the token stores, before the stores that they use are there.
pub(super) fn check(linked: &Linked, diagnostics: &mut Vec<Diagnostic>) {
    let any: Arc<dyn ValueStore> = Arc::new(MemoryStore::new(1));
    token_stores(linked, |_| Some(Arc::clone(&any)), diagnostics);
}

/// Whether the token stores, and the stores that they use, are the same in both.
pub(crate) fn are_same(one: &Linked, other: &Linked) -> bool {
    let declared = |linked: &Linked| {
        let entries = linked.entries.iter();
        let entries =
            entries.filter(|entry| matches!(entry.config, Config::TokenStore(_) | Config::MemoryStore(_)));
        let mut declared: Vec<_> = entries
            .map(|entry| (entry.entry.id.clone(), entry.config.clone()))
            .collect();
        declared.sort_by(|(one, _), (other, _)| one.cmp(other));
        declared
    };
    declared(one) == declared(other)
}
