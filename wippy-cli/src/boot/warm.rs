//! Instances that pools have from the start, made when everything is prepared and before anything is called.

use std::{collections::BTreeMap, sync::Arc, thread};

use wippy_lua::LuaFunction;
use wippy_registry::EntryId;
use wippy_security::CallError;
use wippy_wasm::WasmFunction;

/// Makes the instances that pools are to have ready. One that cannot be made is no reason not to start: its calls say
/// what is wrong, each to its caller.
pub(super) fn up(
    guests: &BTreeMap<EntryId, Arc<WasmFunction>>,
    scripts: &BTreeMap<EntryId, Arc<LuaFunction>>,
) {
    let guests: Vec<_> = guests.iter().filter(|(_, function)| function.is_cold()).collect();
    let scripts: Vec<_> = scripts
        .iter()
        .filter(|(_, function)| function.is_cold())
        .collect();
    if guests.is_empty() && scripts.is_empty() {
        return;
    }
    // Whoever loads an application may do so inside a runtime, where no other can be entered.
    thread::scope(|scope| {
        let warming = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?;
            for (id, function) in guests {
                tell(id, runtime.block_on(function.warm()));
            }
            for (id, function) in scripts {
                tell(id, runtime.block_on(function.warm()));
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

fn tell(id: &EntryId, outcome: Result<(), CallError>) {
    if let Err(error) = outcome {
        tracing::warn!(target: "wippy", %id, "no instance can be made ahead: {error}");
    }
}
