//! Token stores, each over the store that its entry names.

use std::{collections::BTreeMap, sync::Arc};

use wippy_registry::{Diagnostic, EntryId, Linked, LinkedEntry, schema::Config};
use wippy_security::{MemoryStore, Store, TokenStore, TokenStores};

/// The stores that entries may keep things in, by id.
pub(crate) type Stores = BTreeMap<EntryId, Arc<dyn Store>>;

/// Makes every `store.*` entry's store.
pub(crate) fn stores(linked: &Linked) -> Stores {
    let store = |entry: &LinkedEntry| {
        let Config::MemoryStore(memory) = &entry.config else {
            return None;
        };
        let keys_max = usize::try_from(memory.max_size).unwrap_or(usize::MAX);
        Some((
            entry.entry.id.clone(),
            Arc::new(MemoryStore::new(keys_max)) as Arc<dyn Store>,
        ))
    };
    linked.entries.iter().filter_map(store).collect()
}

/// Makes every token store.
pub(crate) fn token_stores(
    linked: &Linked,
    stores: &Stores,
    diagnostics: &mut Vec<Diagnostic>,
) -> TokenStores {
    let mut made = Vec::new();
    for entry in &linked.entries {
        let Config::TokenStore(declared) = &entry.config else {
            continue;
        };
        // A store that is not there was reported when the entries were linked.
        let Some(store) = stores.get(&declared.store) else {
            continue;
        };
        match TokenStore::new(entry.entry.id.clone(), declared, Arc::clone(store)) {
            Ok(store) => made.push(store),
            Err(error) => diagnostics.push(
                Diagnostic::error("token-store", format!("`{}`: {error}", entry.entry.id))
                    .primary(entry.entry.origin, ""),
            ),
        }
    }
    made.into_iter().collect()
}
