//! Instances that pools have from the start, made when everything is prepared and before anything is called.

use std::{collections::BTreeMap, sync::Arc, thread};

use wippy_registry::EntryId;
use wippy_wasm::WasmFunction;

/// Makes the instances that pools are to have ready. One that cannot be made is no reason not to start: its calls say
/// what is wrong, each to its caller.
pub(super) fn up(functions: &BTreeMap<EntryId, Arc<WasmFunction>>) {
    let cold: Vec<_> = functions
        .iter()
        .filter(|(_, function)| function.is_cold())
        .collect();
    if cold.is_empty() {
        return;
    }
    // Whoever loads an application may do so inside a runtime, where no other can be entered.
    thread::scope(|scope| {
        let warming = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?;
            for (id, function) in cold {
                if let Err(error) = runtime.block_on(function.warm()) {
                    tracing::warn!(target: "wippy", %id, "no instance can be made ahead: {error}");
                }
            }
            Ok::<(), std::io::Error>(())
        };
        scope.spawn(|| {
            if let Err(error) = warming() {
                tracing::warn!(target: "wippy", "no instances can be made ahead: {error}");
            }
        });
    });
}
