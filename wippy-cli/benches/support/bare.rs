//! The engine alone, with a guest to make instances of.

use wasmtime::{
    Store,
    component::{Component, ComponentExportIndex, Instance, InstancePre, Linker, TypedFunc},
};

use super::bare_engine;

/// The engine alone.
pub struct Bare {
    engine: wasmtime::Engine,
    pre: InstancePre<()>,
    add: Option<ComponentExportIndex>,
}

/// The function `add` of the guest `bench`.
pub type Add = TypedFunc<(i32, i32), (i32,)>;

impl Bare {
    pub fn new(guest: &str) -> Self {
        let engine = bare_engine(1_100);
        let component = Component::from_file(&engine, fixtures::wasm(guest)).unwrap();
        let pre = Linker::new(&engine).instantiate_pre(&component).unwrap();
        let add = component.get_export_index(None, "add");
        Self { engine, pre, add }
    }

    /// A fresh instance.
    pub async fn instance(&self) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        (store, instance)
    }

    /// A fresh instance, and its function.
    pub async fn ready(&self) -> (Store<()>, Add) {
        let (mut store, instance) = self.instance().await;
        let add = instance.get_typed_func(&mut store, self.add.unwrap()).unwrap();
        (store, add)
    }
}
